"""Cascading randomisation: do explanations change when the classifier forgets?

    python recipes/ESC50/randomise_classifier.py hparams/lmac.yaml [--setting value ...]

Adebayo et al.'s sanity check, in the steps of L-MAC's figures 3 and 4: the classifier
is re-initialised from the logits down, and the explanations of the same clips, for the
class that the intact classifier decided, are compared with the intact ones. Give the
settings that the interpreter was trained with. Besides:

    --n_clips 16                    test clips, spread over the classes
    --sanity_condition in_domain    what they are mixed with: a condition of training
    --randomisation_seed 0          of the random weights
    --norm_statistics measured      of randomised batch normalisations: measured (on
                                    these clips) | fresh (mean 0, variance 1)

Writes randomisation.md, randomisation.csv (every clip), and two figures,
randomisation.png and randomisation_example.png, to <output_folder>/sanity.
"""

import contextlib
import csv
import sys

from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from lmac_td.errors import exit_on_user_error, require_choice
from lmac_td.files import write_atomically
from lmac_td.interpreters.baselines import HalfGain, RandomMask
from lmac_td.report.figures import grid_figure, lines_figure
from lmac_td.sanity.cascade import cascade
from lmac_td.sanity.command import (
    open_explained,
    read_options,
    require_count,
)
from lmac_td.sanity.randomisation import (
    ANOTHER_CLIP,
    INTACT,
    Comparison,
    stages_to_markdown,
    summarise_stages,
)
from lmac_td.sanity.similarity import MEASURES

OPTIONS = {
    "n_clips": 16,
    "sanity_condition": "in_domain",
    "randomisation_seed": 0,
    "norm_statistics": "measured",
}


def check_options(options):
    """Refuse options that cannot work, before anything is loaded."""
    require_count("n_clips", options.n_clips, least=2)  # to compare with another's
    require_count("randomisation_seed", options.randomisation_seed, least=0)
    require_choice("norm_statistics", options.norm_statistics, ("measured", "fresh"))


def chosen_batches(data, options, loader_settings):
    """Batches of the test clips that are explained."""
    wanted = data.sample_ids("test", options.n_clips)
    clips = data.dataset("test", options.sanity_condition).filtered_sorted(
        key_test={"id": wanted.__contains__}
    )
    return list(make_dataloader(clips, **loader_settings))


def save_figures(folder, summary, comparison, shown, title, hparams):
    """Similarity against stages, and what is kept of the first clip at every stage."""
    stages = [INTACT, *comparison.classifier.stages()]
    panels = {
        measure: {
            method: [rows[stage][measure] for stage in stages]
            for method, rows in summary.items()
        }
        for measure in MEASURES[:2]
    }
    marks = {
        measure: {method: summary[method][ANOTHER_CLIP][measure][0] for method in shown}
        for measure in panels
    }
    controls = set(summary) - set(shown)
    with write_atomically(folder / "randomisation.png") as file:
        lines_figure(
            file,
            panels,
            stages,
            "randomised down to",
            "Masks, against the intact classifier's (dotted: against another clip's)",
            controls,
            marks,
        )
    whole = comparison.intact[0].features.magnitude[0].cpu().numpy()
    rows = {
        method: {"input": whole}
        | {stage: comparison.sounds[method][stage].numpy() for stage in stages}
        for method in shown
    }
    with write_atomically(folder / "randomisation_example.png") as file:
        grid_figure(
            file,
            rows,
            whole.max(),
            hparams["sample_rate"],
            hparams["signal_length_s"],
            title,
        )


def main(argv=None):
    """Randomise the classifier that the recipe's interpreters explain."""
    options, argv = read_options(sys.argv[1:] if argv is None else argv, OPTIONS)
    check_options(options)
    experiment, methods, classifier = open_explained(
        argv, __doc__, options.sanity_condition
    )
    hparams, features = experiment.hparams, experiment.hparams["features"]
    data = experiment.prepare("test", conditions=[options.sanity_condition])
    batches = chosen_batches(data, options, hparams["eval_loader"])

    # Neither asks the classifier: what does not change gives a line at 1.
    controls = {"random mask": RandomMask(features), "half gain": HalfGain(features)}
    comparison = Comparison(
        methods | controls, batches, features, classifier, experiment.device
    )
    measured = comparison.inputs if options.norm_statistics == "measured" else None
    stages = cascade(classifier, options.randomisation_seed, measured)
    with contextlib.closing(stages):
        for stage in tqdm(
            stages,
            desc="stages",
            total=len(classifier.stages()),
            disable=experiment.run_opts.noprogressbar,
            dynamic_ncols=True,
        ):
            comparison.add(stage)

    folder = experiment.output_folder / "sanity"
    summary = summarise_stages(comparison.records)
    table = stages_to_markdown(summary)
    with write_atomically(folder / "randomisation.md", "w", encoding="utf-8") as file:
        file.write(table)
    with write_atomically(
        folder / "randomisation.csv", "w", encoding="utf-8", newline=""
    ) as file:
        writer = csv.DictWriter(file, list(comparison.records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(comparison.records)
    label = data.class_names[int(batches[0].class_index[0])]
    title = (
        f"{batches[0].id[0]} ({label}): what is kept as {classifier.name} is randomised"
    )
    save_figures(folder, summary, comparison, methods, title, hparams)
    print(table)
    print(
        "Similarity to the intact classifier's explanations, mean and 95 % interval "
        f"over {len(comparison.clip_ids)} clips. Table, clips and figures: {folder}"
    )


command = exit_on_user_error()(main)
