"""Cascading randomisation: do explanations change when the classifier is randomised?

    python recipes/ESC50/randomise_classifier.py RECIPE ... [--setting value ...]

This is Adebayo et al.'s sanity check, in the stages of L-MAC's figures 3 and 4. The
classifier is re-initialised from the logits down. At each stage, the clips are
explained again, for the class that the intact classifier decided, and the explanations
are compared with the intact ones. Give the settings that the interpreter was trained
with. Several recipes put their methods side by side; each takes the settings that it
has, and the results go to the output folder of the first.
Further options:

    --n_clips 16                    test clips, spread over the classes
    --sanity_condition in_domain    the training condition that mixes them
    --randomisation_seed 0          seed of the random weights
    --norm_statistics measured      statistics of randomised batch norms: measured (on
                                    these clips) | fresh (mean 0, variance 1)

It writes randomisation.md, randomisation.csv (every clip), and two figures,
randomisation.png and randomisation_example.png, to <output_folder>/sanity.
"""

import contextlib
import sys
from collections.abc import Sequence

from tqdm import tqdm

from lmac_td.cli.sanity import (
    name_of_clip,
    open_side_by_side,
    read_options,
    sample_batches,
)
from lmac_td.errors import exit_on_user_error
from lmac_td.interpreters.baselines import HalfGain, RandomMask
from lmac_td.sanity.cascade import cascade
from lmac_td.sanity.comparison import INTACT
from lmac_td.sanity.randomisation import Comparison
from lmac_td.sanity.results import write_results

MEASURED, FRESH = "measured", "fresh"
OPTIONS = {
    "n_clips": 16,
    "sanity_condition": "in_domain",
    "randomisation_seed": 0,
    "norm_statistics": MEASURED,
}
TYPES = {
    # A clip is compared with another one.
    "n_clips": {"type": "int", "min": 2, "max": 1_000_000},
    "sanity_condition": {"type": "str"},
    "randomisation_seed": {"type": "int", "min": 0, "max": 2**32 - 1},
    "norm_statistics": {"type": "str", "choices": (MEASURED, FRESH)},
}


def compare_stages(
    comparison: Comparison, seed: int, norm_statistics: str, progress: bool = True
) -> None:
    """Randomise the classifier of a comparison, and explain at every stage.

    Arguments
    ---------
    comparison : Comparison
    seed : int
        Seed of the random weights.
    norm_statistics : str
        ``measured`` or ``fresh``.
    progress : bool
        Show a progress bar.
    """
    classifier = comparison.classifier
    measured = comparison.inputs if norm_statistics == MEASURED else None
    with contextlib.closing(cascade(classifier, seed, measured)) as stages:
        for stage in tqdm(
            stages,
            desc="stages",
            total=len(classifier.stages()),
            disable=not progress,
            dynamic_ncols=True,
        ):
            comparison.add(stage)


def main(argv: Sequence[str] | None = None) -> None:
    """Randomise the classifier that the recipe's interpreters explain."""
    argv = sys.argv[1:] if argv is None else argv
    options, argv = read_options(argv, OPTIONS, TYPES)
    condition = options.sanity_condition
    experiment, methods, classifier = open_side_by_side(argv, __doc__, condition)
    hparams, features = experiment.hparams, experiment.hparams["features"]
    data = experiment.prepare("test", conditions=[condition])
    batches = sample_batches(data, options.n_clips, condition, hparams["eval_loader"])

    # Controls do not run the classifier: their lines stay at 1.
    controls = {"random mask": RandomMask(features), "half gain": HalfGain(features)}
    comparison = Comparison(
        methods | controls, batches, features, classifier, experiment.device
    )
    compare_stages(
        comparison,
        options.randomisation_seed,
        options.norm_statistics,
        not experiment.run_opts.noprogressbar,
    )

    clip = name_of_clip(batches[0], data.class_names)
    with experiment.sanity_check("randomisation") as folder:
        table = write_results(
            folder,
            "randomisation",
            comparison,
            [INTACT, *classifier.stages()],
            methods,
            hparams,
            stage="randomised down to",
            curves="Masks, against the intact classifier's (dotted: against another "
            "clip's)",
            example=f"{clip}: what is kept as {classifier.name} is randomised",
        )
    print(table)
    print(
        "Similarity to the intact classifier's explanations, mean and 95 % interval "
        f"over {len(comparison.clip_ids)} clips. Table, clips and figures: {folder}"
    )


command = exit_on_user_error()(main)
