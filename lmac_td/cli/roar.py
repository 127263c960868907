"""RemOve And Retrain: does a new classifier miss what explanations point at?

    python recipes/ESC50/roar.py hparams/lmac.yaml [--setting value ...]

Hooker et al.'s sanity check (L-MAC's figure 4): of every clip of training, validation
and test the most important bins are removed, a classifier is trained anew on what
remains, and its accuracy on the test clips is set beside that where bins are removed at
random. Give the settings that the interpreter was trained with. Besides:

    --roar_levels "[0.1, 0.3, 0.5, 0.7, 0.9]"    shares of all bins
    --repeats 3                     trainings of each
    --roar_epochs 10                of each training, as are
    --roar_lr 0.001  --roar_batch_size 8
    --roar_fill zero                what stands where bins were removed: zero | mean
    --sanity_condition in_domain    what clips are mixed with: a condition of training

On the embedded corpus a training takes a minute or less on one core: for a first look
give --roar_levels "[0.1, 0.5, 0.9]" --repeats 1. Writes roar.md, roar.csv, roar.png
and, as it goes, roar.json to <output_folder>/sanity: what is finished there is not
computed again, and more levels and repeats may be asked for.
"""

import sys

from tqdm import tqdm

from lmac_td.errors import (
    SettingError,
    exit_on_user_error,
    require_choice,
    require_number,
)
from lmac_td.experiment.fingerprint import fingerprint
from lmac_td.experiment.settings import changes_explanations
from lmac_td.files import write_atomically
from lmac_td.report.figures import lines_figure
from lmac_td.sanity.command import (
    open_explained,
    read_options,
    require_count,
)
from lmac_td.sanity.rankings import LOUDEST, RANDOM, rankings_of
from lmac_td.sanity.removal import FILLS, SPLITS, Removal, fixed_batches
from lmac_td.sanity.retraining import hits_of, require_classes, retrain
from lmac_td.sanity.roar import NOTHING, Cells, curves_to_csv, curves_to_markdown

OPTIONS = {
    "roar_levels": [0.1, 0.3, 0.5, 0.7, 0.9],
    "repeats": 3,
    "roar_epochs": 10,
    "roar_lr": 0.001,
    "roar_batch_size": 8,
    "roar_fill": "zero",
    "sanity_condition": "in_domain",
}


def check_options(options):
    """Refuse options that cannot work, before anything is loaded."""
    levels = options.roar_levels
    if not isinstance(levels, list) or not levels:
        raise SettingError(
            f"roar_levels is {levels!r}: give --roar_levels a list such as [0.1, 0.5]"
        )
    for level in levels:
        require_number("roar_levels", level, most=1)
    if sorted(set(levels)) != levels:
        raise SettingError(
            f"roar_levels is {levels}: give --roar_levels ascending, each once"
        )
    for name in ("repeats", "roar_epochs", "roar_batch_size"):
        require_count(name, getattr(options, name))
    require_number("roar_lr", options.roar_lr)
    require_choice("roar_fill", options.roar_fill, FILLS)


def main(argv=None):
    """Remove and retrain for the interpreters that the recipe describes."""
    options, argv = read_options(sys.argv[1:] if argv is None else argv, OPTIONS)
    check_options(options)
    experiment, methods, classifier = open_explained(
        argv, __doc__, options.sanity_condition
    )
    hparams = experiment.hparams

    folder = experiment.output_folder / "sanity"
    # Which methods are tested says each cell.
    settings = {
        name: value
        for name, value in experiment.settings.items()
        if changes_explanations(experiment.roles.get(name, ("training",)))
    }
    own = {
        k: v for k, v in vars(options).items() if k not in ("roar_levels", "repeats")
    }
    content = {"content of output_folder": fingerprint(experiment.output_folder)}
    cells = Cells(folder / "roar.json", settings | own | content)

    data = experiment.prepare(*SPLITS, conditions=[options.sanity_condition])
    require_classes(classifier, data.class_names)
    removal = Removal(
        lambda split: fixed_batches(
            data, split, options.sanity_condition, hparams["eval_loader"]
        ),
        hparams["features"],
        classifier,
        options.roar_fill,
        experiment.device,
    )
    rankings = rankings_of(methods, data.mixing_seed)
    repeats = range(options.repeats)
    wanted = {NOTHING: [0.0], **dict.fromkeys(rankings, options.roar_levels)}
    total = len(repeats) * sum(map(len, wanted.values()))
    with tqdm(
        total=total,
        desc="trainings",
        disable=experiment.run_opts.noprogressbar,
        dynamic_ncols=True,
    ) as progress:
        for ranking, levels in wanted.items():
            missing = {
                level: [r for r in repeats if not cells.has(ranking, level, r)]
                for level in levels
            }
            missing = {level: left for level, left in missing.items() if left}
            rank = rankings.get(ranking, rankings[LOUDEST])  # of NOTHING: any
            clips = removal.clips(rank, list(missing)) if missing else {}
            progress.update(
                len(repeats) * len(levels) - sum(map(len, missing.values()))
            )
            for level, left in missing.items():
                for repeat in left:
                    model = retrain(
                        classifier,
                        clips[level]["train"],
                        clips[level]["valid"],
                        seed=repeat,
                        epochs=options.roar_epochs,
                        lr=options.roar_lr,
                        batch_size=options.roar_batch_size,
                    )
                    hits = hits_of(model, clips[level]["test"])
                    cells.put(ranking, level, repeat, hits.tolist())
                    progress.update()

    curves = cells.curves(rankings, options.roar_levels, repeats)
    table = curves_to_markdown(curves, options.roar_levels)
    with write_atomically(folder / "roar.md", "w", encoding="utf-8") as file:
        file.write(table)
    curves_to_csv(folder / "roar.csv", curves, options.roar_levels)
    with write_atomically(folder / "roar.png") as file:
        lines_figure(
            file,
            {"accuracy of the retrained classifier": curves},
            [0.0, *options.roar_levels],
            "share of the bins that were removed",
            f"RemOve And Retrain ({options.sanity_condition})",
            (RANDOM, LOUDEST),
        )
    print(table)
    print(
        f"Accuracy (%) on the test clips, mean of {options.repeats} trainings, 95 % "
        f"intervals over clips. Table, cells and figure: {folder}"
    )


command = exit_on_user_error("Interrupted: the same command goes on where it stopped.")(
    main
)
