"""Compare the time of an epoch with the sum of its steps: does training wait for data?

    python -m benchmarks.epoch [--recipe hparams/lmac_td_small.yaml] [--device cuda]

It trains on the embedded corpus with the loader of the recipe, in a folder that is
deleted afterwards.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence

import speechbrain as sb
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor

from benchmarks.command import overrides, parser, say
from benchmarks.cost import synchronise
from benchmarks.measure import ratios, with_spread
from benchmarks.report import print_head
from lmac_td.data.demo.corpus import generate_corpus
from lmac_td.data.epoch_seeds import EpochSeededDataset, use_epoch_seeded_sampler
from lmac_td.data.loading import adapt_to_cpu
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.experiment.build import load_recipe
from lmac_td.training.brain import InterpreterBrain, brain_modules


class TimedBrain(InterpreterBrain):
    """Measures its epochs, and the sum of their steps."""

    def on_fit_start(self) -> None:
        """Start without a checkpoint."""
        self.epochs, self.steps = [], []
        sb.Brain.on_fit_start(self)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Start the clock, before the loader reads its first batch."""
        super().on_stage_start(stage, epoch)
        self.steps.append(0.0)
        self.begin = time.perf_counter()

    def fit_batch(self, batch: PaddedBatch) -> Tensor:
        """Do a step, and wait until the device has finished it."""
        begin = time.perf_counter()
        loss = super().fit_batch(batch)
        synchronise(str(self.device))
        self.steps[-1] += time.perf_counter() - begin
        return loss

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Stop the clock, after the last step."""
        self.epochs.append(time.perf_counter() - self.begin)
        say(f"epoch {epoch}: {self.epochs[-1]:.2f} s, steps {self.steps[-1]:.2f} s")
        super().on_stage_end(stage, stage_loss, epoch)


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = parser(__doc__.splitlines()[0], batch_size=None)
    options.add_argument("--recipe", default="hparams/lmac_td_small.yaml")
    options.add_argument(
        "--clips",
        type=int,
        default=2,
        help="clips per class (of 10) and fold (of 2)",
    )
    return options.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(argv)
    print_head(f"{options.recipe}: an epoch of clips", options)
    with tempfile.TemporaryDirectory() as folder:
        brain, train, loader = training(options, folder)
        # The first epoch is a warm-up.
        brain.fit(range(options.repeats + 1), train, train_loader_kwargs=loader)
    epochs, steps = brain.epochs[1:], brain.steps[1:]
    columns = ["clips", "workers", "epoch (s)", "sum of its steps (s)", "ratio"]
    row = [
        str(len(train)),
        str(loader["num_workers"]),
        with_spread(epochs),
        with_spread(steps),
        with_spread(ratios(epochs, steps), digits=3),
    ]
    print(markdown_table(columns, [row]))


def training(
    options: argparse.Namespace, folder: str
) -> tuple[TimedBrain, EpochSeededDataset, dict]:
    """Return a Brain, the training clips, and the arguments of their loader."""
    data = {
        "data_folder": f"{folder}/corpus/ESC-50",
        "wham_folder": f"{folder}/corpus/wham_noise",
        "cache_folder": f"{folder}/cache",
        "output_folder": f"{folder}/results",
        "out_n_neurons": 10,
        "train_fold_nums": [1, 2],
    }
    if options.batch_size is not None:
        data["batch_size"] = options.batch_size
    hparams = load_recipe(options.recipe, overrides([*options.setting, *data.items()]))
    say("generating the corpus")
    generate_corpus(
        f"{folder}/corpus",
        clips_per_class_and_fold=options.clips,
        duration_s=hparams["signal_length_s"],
    )
    classifier = hparams["classifier"].freeze()
    prepared = hparams["prepare"](["train"])
    brain = TimedBrain(
        modules=brain_modules(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": options.device, "noprogressbar": True},
    )
    train = prepared.dataset("train")
    loader = hparams["train_loader"]
    if options.device.startswith("cpu"):
        loader = adapt_to_cpu(loader, hparams["num_workers"])
    loader = use_epoch_seeded_sampler(brain, train, loader, hparams["seed"])
    return brain, train, loader


if __name__ == "__main__":
    main()
