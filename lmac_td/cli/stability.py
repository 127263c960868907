"""Stability: do explanations change when masked noise is added?

    python recipes/ESC50/stability.py RECIPE ... [--setting value ...]

Noise below the masking threshold of each clip is added to it. The clips are explained
again, for the class that was decided without noise, and the explanations are compared
with the first ones. A clip counts only if its decision stays the same. Give the
settings that the interpreter was trained with. Several recipes put their methods side
by side; each takes the settings that it has, and the results go to the output folder of
the first.
Further options:

    --n_clips 16                    test clips, spread over the classes
    --sanity_condition in_domain    the training condition that mixes them
    --stability_levels "[-20, -10, 0]"    dB relative to the masking threshold
    --noise_seed 0                  seed of the noise

It writes stability.md, stability.csv (every clip), and two figures, stability.png and
stability_example.png, to <output_folder>/sanity.
"""

import sys
from collections.abc import Sequence

from tqdm import tqdm

from lmac_td.cli.sanity import (
    name_of_clip,
    open_side_by_side,
    read_options,
    require_ascending,
    sample_batches,
)
from lmac_td.errors import exit_on_user_error
from lmac_td.interpreters.baselines import Identity
from lmac_td.sanity.results import write_results
from lmac_td.sanity.stability import Stability, name_of_level

OPTIONS = {
    "n_clips": 16,
    "sanity_condition": "in_domain",
    "stability_levels": [-20.0, -10.0, 0.0],
    "noise_seed": 0,
}
TYPES = {
    # A clip is compared with another one.
    "n_clips": {"type": "int", "min": 2, "max": 1_000_000},
    "sanity_condition": {"type": "str"},
    "stability_levels": {"type": "list[float]", "min": -100, "max": 0},
    "noise_seed": {"type": "int", "min": 0, "max": 2**32 - 1},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Add inaudible noise to the clips that the recipe's interpreters explain."""
    argv = sys.argv[1:] if argv is None else argv
    options, argv = read_options(argv, OPTIONS, TYPES)
    require_ascending("stability_levels", options.stability_levels, "[-20, 0]")
    condition = options.sanity_condition
    experiment, methods, classifier = open_side_by_side(argv, __doc__, condition)
    hparams, features = experiment.hparams, experiment.hparams["features"]
    data = experiment.prepare("test", conditions=[condition])
    batches = sample_batches(data, options.n_clips, condition, hparams["eval_loader"])

    # A control: its attribution is the spectrogram itself, and shows how far it moves.
    controls = {"identity": Identity(features)}
    comparison = Stability(
        methods | controls,
        batches,
        features,
        classifier,
        experiment.device,
        options.noise_seed,
    )
    for level in tqdm(
        options.stability_levels,
        desc="levels",
        disable=experiment.run_opts.noprogressbar,
        dynamic_ncols=True,
    ):
        comparison.add(level)

    clip = name_of_clip(batches[0], data.class_names)
    with experiment.sanity_check("stability") as folder:
        table = write_results(
            folder,
            "stability",
            comparison,
            [name_of_level(level) for level in options.stability_levels],
            methods,
            hparams,
            stage="noise, relative to the threshold",
            curves="Masks, against those without noise (dotted: against another "
            "clip's)",
            example=f"{clip}: what is kept as noise is added",
        )
    print(table)
    print(
        "Similarity to the explanations without noise, mean and 95 % interval over the "
        f"clips of {len(comparison.clip_ids)} whose decision is unchanged. Table, "
        f"clips and figures: {folder}"
    )


command = exit_on_user_error()(main)
