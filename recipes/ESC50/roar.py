#!/usr/bin/env python
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
    --sanity_condition in_domain    what clips are mixed with: in_domain | clean

On the embedded corpus a training takes a minute or less on one core: for a first look
give --roar_levels "[0.1, 0.5, 0.9]" --repeats 1. Writes roar.md, roar.csv, roar.png
and, as it goes, roar.json to <output_folder>/sanity: what is finished there is not
computed again, and more levels and repeats may be asked for.
"""

import sys

import torch
from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from lmac_td import evaluation
from lmac_td.errors import (
    SettingError,
    exit_on_user_error,
    require_choice,
    require_number,
)
from lmac_td.experiment import (
    MIXTURE_SETTINGS,
    RUN_SETTINGS,
    content_of,
    open_experiment,
)
from lmac_td.files import write_atomically
from lmac_td.report.figures import lines_figure
from lmac_td.sanity.command import (
    read_options,
    require_count,
    require_mixture,
)
from lmac_td.sanity.removal import (
    FILLS,
    mean_magnitude,
    random_importance,
    remains,
    removed_bins,
)
from lmac_td.sanity.retraining import Clips, hits_of, retrain
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
SPLITS = ("train", "valid", "test")
RANDOM, LOUDEST = "random", "loudest first"
# Settings that change neither an explanation nor a training on what it leaves; which
# methods are tested says each cell.
IGNORED = (
    RUN_SETTINGS - {"test_fold_nums", "relevance_threshold", "skip_bad_files"}
) | {"methods", "references"}


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
    require_mixture(options)


def batches_of(data, split, condition, hparams):
    """Batches of a split, the same at every visit: training's too."""
    loader = make_dataloader(
        data.dataset(split, condition), **hparams["eval_loader"] | {"num_workers": 0}
    )
    with torch.random.fork_rng():
        torch.manual_seed(data.mixing_seed)
        yield from loader


class Removal:
    """Clips of all splits, with the bins removed that a ranking puts first.

    Arguments
    ---------
    experiment : Experiment
    classifier : FrozenClassifier
        The one that is explained.
    data : PreparedData
    options : argparse.Namespace
    """

    def __init__(self, experiment, classifier, data, options):
        self.experiment, self.classifier, self.data = experiment, classifier, data
        self.condition = options.sanity_condition
        self.features = experiment.hparams["features"]
        n_bins = len(self.features.mel_matrix)
        self.fill = torch.zeros(n_bins, device=experiment.device)
        if options.roar_fill == "mean":
            self.fill = mean_magnitude(
                self.features(wavs).magnitude for _, wavs in self._batches("train")
            )

    def _batches(self, split):
        for batch in batches_of(
            self.data, split, self.condition, self.experiment.hparams
        ):
            yield batch, batch.mixture.data.to(self.experiment.device)

    @torch.no_grad()
    def clips(self, rank, levels):
        """The log-mels of what remains.

        Arguments
        ---------
        rank : callable
            (wavs, features, decision, clip ids) -> importance (B, frames, bins).
        levels : sequence of float
            0 removes nothing.

        Returns
        -------
        dict of float to dict of str to Clips
            By level, by split.
        """
        parts = {level: {split: [] for split in SPLITS} for level in levels}
        labels = {split: [] for split in SPLITS}
        for split in SPLITS:
            for batch, wavs in self._batches(split):
                features, decision = evaluation.decide(
                    wavs, self.features, self.classifier
                )
                importance = rank(wavs, features, decision, batch.id)
                some = [level for level in levels if level > 0]
                removed = dict(zip(some, removed_bins(importance, some), strict=True))
                nothing = torch.zeros_like(importance, dtype=torch.bool)
                for level in levels:
                    parts[level][split].append(
                        remains(
                            features.magnitude,
                            removed.get(level, nothing),
                            self.fill,
                            self.features,
                        )
                    )
                labels[split].append(torch.as_tensor(batch.class_index))
        return {
            level: {
                split: Clips(
                    torch.cat(log_mels),
                    torch.cat(labels[split]).to(self.experiment.device),
                )
                for split, log_mels in splits.items()
            }
            for level, splits in parts.items()
        }


def rankings_of(interpreters, classifier, seed):
    """What bins are removed by, each a callable of :meth:`Removal.clips`."""

    def by(interpreter):
        def rank(wavs, features, decision, clip_ids):
            return evaluation.on_the_stft(
                evaluation.explain(wavs, features, decision, interpreter, classifier)
            )

        return rank

    return {name: by(interpreter) for name, interpreter in interpreters.items()} | {
        RANDOM: lambda wavs, features, decision, clip_ids: random_importance(
            features.magnitude, clip_ids, seed
        ),
        LOUDEST: lambda wavs, features, decision, clip_ids: features.magnitude,
    }


def main(argv=None):
    """Remove and retrain for the interpreters that the recipe describes."""
    options, argv = read_options(sys.argv[1:] if argv is None else argv, OPTIONS)
    check_options(options)
    experiment = open_experiment(argv, __doc__, needs=("interpreter", "interpreters"))
    hparams, device = experiment.hparams, experiment.device
    experiment.check_trained_as(RUN_SETTINGS | MIXTURE_SETTINGS)
    methods, _ = experiment.interpreters(argv)
    hparams["features"].to(device)
    classifier = experiment.load_classifier().to(device)

    folder = experiment.output_folder / "sanity"
    settings = {k: v for k, v in experiment.settings.items() if k not in IGNORED}
    own = {
        k: v for k, v in vars(options).items() if k not in ("roar_levels", "repeats")
    }
    content = {"content of output_folder": content_of(experiment.output_folder)}
    cells = Cells(folder / "roar.json", settings | own | content)

    data = experiment.prepare(*SPLITS, conditions=[options.sanity_condition])
    removal = Removal(experiment, classifier, data, options)
    rankings = rankings_of(methods, classifier, data.mixing_seed)
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


if __name__ == "__main__":
    with exit_on_user_error("Interrupted: the same command goes on where it stopped."):
        main()
