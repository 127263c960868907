"""An epoch of training against the sum of its steps: is data ever waited for?

    python -m benchmarks.epoch [--recipe hparams/lmac_td_small.yaml] [--device cuda]

Trains on the embedded corpus, in a folder that is deleted afterwards, through the
recipe's own loader.
"""

import tempfile
import time

import speechbrain as sb

from benchmarks.measure import (
    overrides,
    parser,
    ratios,
    say,
    synchronise,
    with_spread,
)
from benchmarks.report import head
from lmac_td.data.demo.corpus import generate_corpus
from lmac_td.data.epoch_seeds import use_epoch_seeded_sampler
from lmac_td.data.loading import on_the_cpu
from lmac_td.evaluation.table import markdown_table
from lmac_td.experiment.build import load_recipe
from lmac_td.training.brain import InterpreterBrain, modules_of

LENGTH_S = 5


class TimedBrain(InterpreterBrain):
    """Measures its epochs, and adds up what their steps take."""

    def on_fit_start(self):
        """Nothing to go on from."""
        self.epochs, self.steps = [], []
        sb.Brain.on_fit_start(self)

    def on_stage_start(self, stage, epoch=None):
        """The loader is asked for its first batch after this."""
        super().on_stage_start(stage, epoch)
        self.steps.append(0.0)
        self.begin = time.perf_counter()

    def fit_batch(self, batch):
        """A step, to its very end."""
        begin = time.perf_counter()
        loss = super().fit_batch(batch)
        synchronise(str(self.device))
        self.steps[-1] += time.perf_counter() - begin
        return loss

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Called after the last step, before validation."""
        self.epochs.append(time.perf_counter() - self.begin)
        say(f"epoch {epoch}: {self.epochs[-1]:.2f} s, steps {self.steps[-1]:.2f} s")
        super().on_stage_end(stage, stage_loss, epoch)


def read_options(argv):
    """The command line."""
    options = parser(__doc__.splitlines()[0], batch_size=None)
    options.add_argument("--recipe", default="hparams/lmac_td_small.yaml")
    options.add_argument(
        "--clips", type=int, default=2, help="a class and fold; ten classes, two folds"
    )
    return options.parse_args(argv)


def main(argv=None):
    """Measure and print."""
    options = read_options(argv)
    head(f"{options.recipe}: an epoch of clips", options)
    with tempfile.TemporaryDirectory() as folder:
        brain, train, loader = training(options, folder)
        # The first epoch is a warm-up.
        brain.fit(range(options.repeats + 1), train, train_loader_kwargs=loader)
    epochs, steps = brain.epochs[1:], brain.steps[1:]
    columns = ["clips", "workers", "epoch (s)", "sum of its steps (s)", "ratio"]
    told = [
        str(len(train)),
        str(loader["num_workers"]),
        with_spread(epochs),
        with_spread(steps),
        with_spread(ratios(epochs, steps), digits=3),
    ]
    print(markdown_table(columns, [told]))


def training(options, folder):
    """A Brain, a corpus of its own, and how the recipe loads it."""
    data = {
        "data_folder": f"{folder}/corpus/ESC-50",
        "wham_folder": f"{folder}/corpus/wham_noise",
        "cache_folder": f"{folder}/cache",
        "output_folder": f"{folder}/results",
        "out_n_neurons": 10,
        "train_fold_nums": [1, 2],
        "signal_length_s": LENGTH_S,
    }
    if options.batch_size is not None:
        data["batch_size"] = options.batch_size
    hparams = load_recipe(options.recipe, overrides([*options.setting, *data.items()]))
    say("making the corpus")
    generate_corpus(
        f"{folder}/corpus",
        clips_per_class_and_fold=options.clips,
        duration_s=LENGTH_S,
    )
    classifier = hparams["classifier"].freeze()
    prepared = hparams["prepare"](["train"])
    brain = TimedBrain(
        modules=modules_of(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": options.device, "noprogressbar": True},
    )
    train = prepared.dataset("train")
    loader = hparams["train_loader"]
    if options.device.startswith("cpu"):
        loader = on_the_cpu(loader, hparams["num_workers"])
    loader = use_epoch_seeded_sampler(brain, train, loader, hparams["seed"])
    return brain, train, loader


if __name__ == "__main__":
    main()
