"""The tasks that are timed: training steps and evaluation batches.

Each exists in two implementations: the published one and this project's.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from speechbrain.utils.run_opts import RunOptions

from benchmarks.command import overrides
from benchmarks.measure import Side
from benchmarks.published import published_brain
from lmac_td.contracts import Classifier
from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation.batches import decide_batch
from lmac_td.evaluation.explaining import answer, explain
from lmac_td.evaluation.loop import evaluate, score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.build import load_recipe
from lmac_td.runtime.compilation import compile_networks
from lmac_td.training.brain import InterpreterBrain, brain_modules

DEFAULT = "hparams/lmac_td.yaml"
PUBLISHED = "hparams/lmac_td_published.yaml"
# The settings of a recipe that determine the clips.
CLIP_SETTINGS = ("signal_length_s", "sample_rate", "out_n_neurons")
SEVEN = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP")


def side(
    name: str,
    build: Callable[..., "Work"],
    recipe: str,
    options: argparse.Namespace,
    settings: Sequence[tuple[str, Any]] = (),
    **more: Any,
) -> Side:
    """Return a side of a measurement.

    Arguments
    ---------
    name : str
    build : callable
        A function of this module.
    recipe : str
    options : argparse.Namespace
        The options of :func:`benchmarks.command.parser`.
    settings : sequence of (str, object)
        Settings of the recipe, in addition to those of the command line.
    **more
        Further arguments of ``build``.

    Returns
    -------
    Side
    """
    given = {
        "recipe": recipe,
        "settings": overrides([*options.setting, *settings]),
        "batch_size": options.batch_size,
    }
    ours = build not in (training_as_published, evaluation_as_published)
    return Side(name, build, given | more, set_up=ours)


def training_as_published(
    recipe: str, settings: str, batch_size: int, device: str
) -> "Training":
    """Build a training step of the published implementation."""
    hparams, classifier = _recipe(recipe, settings)
    brain = published_brain(hparams, hparams["interpreter"], classifier, device)
    return Training(brain, _batches(hparams, device), batch_size)


def training(
    recipe: str, settings: str, batch_size: int, device: str, **run_opts: Any
) -> "Training":
    """Build a training step of this project."""
    hparams, classifier = _recipe(recipe, settings)
    brain = InterpreterBrain(
        modules=brain_modules(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": device, **run_opts},
    )
    brain.on_stage_start(sb.Stage.TRAIN)
    return Training(brain, _batches(hparams), batch_size)


def training_on_new_mixtures(
    recipe: str, settings: str, batch_size: int, device: str
) -> "Training":
    """Build a training step of this project on mixtures that are new to the epoch."""
    training_step = training(recipe, settings, batch_size, device)
    process = training_step.process

    def step(batch):
        training_step.brain.state.memory.clear()
        return process(batch)

    training_step.process = step
    return training_step


def explaining(recipe: str, settings: str, batch_size: int, device: str) -> "Work":
    """Build the explanation of a decided batch, without scores.

    The recipe has one interpreter, or several of which the first is taken. The result
    has the classifier as an attribute, too.
    """
    hparams, classifier = _recipe(recipe, settings)
    features = hparams["features"].to(device)
    several = hparams.get("interpreters") or {"one": hparams["interpreter"]}
    interpreter = next(iter(several.values()))
    interpreter.to(device).eval()
    classifier.to(device)

    @torch.no_grad()
    def explain_clips(batch):
        mixture = make_mixtures(batch, device)
        decided = decide_batch(batch, mixture, features, classifier, with_sources=False)
        explanation = explain(decided, interpreter).explanation
        return {"kept": explanation.interpretation.abs().mean().item()}

    work = Work(explain_clips, _batches(hparams), batch_size)
    work.classifier = classifier
    return work


def evaluation_as_published(
    recipe: str, settings: str, batch_size: int, device: str
) -> "Work":
    """Build an evaluation batch of the published implementation."""
    hparams, classifier = _recipe(recipe, settings)
    brain = published_brain(hparams, hparams["interpreter"], classifier, device)
    brain.modules.eval()
    return Work(brain.evaluate_published, _batches(hparams, device), batch_size)


def evaluation_batch(
    recipe: str,
    settings: str,
    batch_size: int,
    device: str,
    equal_size: bool = False,
    precision: str = "fp32",
    compile: bool = False,
    weights: dict[str, torch.Tensor] | None = None,
) -> "Work":
    """Build an evaluation batch of this project.

    It computes the metrics of a validation, or all columns of an evaluation with
    ``equal_size``. ``precision`` is the precision of the interpreter only, as in
    ``eval_faithfulness.py``. ``weights`` is a state dict of the interpreter.
    """
    hparams, classifier = _recipe(recipe, settings)
    features = hparams["features"].to(device)
    interpreter = hparams["interpreter"].to(device).eval()
    if weights is not None:
        interpreter.load_state_dict(weights)
    classifier.to(device)
    compile_networks(interpreter, classifier, RunOptions(compile=compile))
    autocast = TorchAutocast(
        device_type=torch.device(device).type,
        dtype=AMPConfig.from_name(precision).dtype,
    )

    @torch.no_grad()
    def score_clips(batch):
        table = FaithfulnessTable()
        if equal_size:
            evaluate(
                table,
                "in_domain",
                {"interpreter": interpreter},
                [batch],
                features,
                classifier,
                device=device,
                progress=False,
                precision=precision,
            )
        else:
            mixture = make_mixtures(batch, device)
            decided = decide_batch(
                batch, mixture, features, classifier, with_sources=False
            )
            with autocast:
                explained = explain(decided, interpreter)
            explained = answer(explained)
            score(table, "in_domain", "interpreter", decided, explained)
        scores = table.row("in_domain", "interpreter")
        return {name: scores[name].tolist() for name in SEVEN}

    return Work(score_clips, _batches(hparams), batch_size)


class Work:
    """A task on a batch of clips, which can be replaced.

    Arguments
    ---------
    process : callable
        Processes a batch, and returns a dict of results.
    make_batch : callable
        Makes a batch from a number of clips and a seed.
    batch_size : int
        Number of clips in the first batch.
    """

    def __init__(
        self,
        process: Callable[[Any], dict],
        make_batch: Callable[[int, int], Any],
        batch_size: int,
    ):
        self.process, self.make_batch = process, make_batch
        self.take(batch_size)

    def take(self, batch_size: int, seed: int = 0) -> None:
        """Replace the batch."""
        self.batch = self.make_batch(batch_size, seed)

    def __call__(self) -> dict:
        """Process the batch once."""
        return self.process(self.batch)


class Training(Work):
    """Training steps of a Brain on one batch.

    A call returns its loss, and a digest of the gradient of the first call, for which
    the weights of all sides are the same.

    Arguments
    ---------
    brain : sb.Brain
    make_batch, batch_size
        See :class:`Work`.
    """

    def __init__(
        self, brain: sb.Brain, make_batch: Callable[[int, int], Any], batch_size: int
    ):
        super().__init__(self.step, make_batch, batch_size)
        self.brain, self.digest = brain, None
        sb.Brain.on_fit_start(brain)  # without loading a checkpoint
        brain.nonfinite_count = 0
        brain.optimizer.register_step_pre_hook(self._digest_once)

    def step(self, batch: Any) -> dict:
        """Do one training step."""
        loss = float(self.brain.fit_batch(batch))
        return {"loss": loss, **self.digest}

    def _digest_once(self, *_: Any) -> None:
        """Save the digest of the first gradient."""
        if self.digest is None:
            self.digest = digest(self.brain.modules["interpreter"])


def digest(module: torch.nn.Module) -> dict:
    """Return the norm of a module's gradient, and a random projection of each tensor.

    A tensor is projected on random signs. The difference of two projections estimates
    the norm of the difference of the two tensors (its root mean square over the signs).
    """
    squares, projections = 0.0, {}
    for name, parameter in sorted(module.named_parameters()):
        if parameter.grad is None:
            continue
        gradient = parameter.grad.float().flatten().cpu()
        generator = torch.Generator().manual_seed(gradient.numel())
        signs = torch.randint(0, 2, gradient.shape, generator=generator).float() * 2 - 1
        projections[name] = float((gradient * signs).sum(dtype=torch.float64))
        squares += float(gradient.square().sum(dtype=torch.float64))
    return {"gradient norm": squares**0.5, "projections": projections}


def batch_of(hparams: dict, batch_size: int, seed: int = 0) -> PaddedBatch:
    """Return a batch as a loader does, with noise as clips and as interference."""
    generator = torch.Generator().manual_seed(seed)
    n_samples = round(hparams["signal_length_s"] * hparams["sample_rate"])

    def noise():
        return 0.1 * torch.randn(n_samples, generator=generator)

    return PaddedBatch(
        [
            {
                "id": str(i),
                "clip": noise() * torch.linspace(0, 1, n_samples),
                "interference": noise(),
                "snr_db": 0.0,
                "class_index": i % hparams["out_n_neurons"],
            }
            for i in range(batch_size)
        ]
    )


def _batches(hparams: dict, mixed_on: str | None = None) -> Callable[[int, int], Any]:
    """Return a function that makes a batch from a number of clips and a seed.

    With ``mixed_on``, the clips are mixed on that device, for the published
    implementation. The function holds only numbers, so the networks of the recipe can
    be freed.
    """
    make = partial(batch_of, {name: hparams[name] for name in CLIP_SETTINGS})
    if mixed_on is None:
        return make
    return lambda batch_size, seed: _mixed(make(batch_size, seed), mixed_on)


def _mixed(batch: PaddedBatch, device: str) -> dict[str, torch.Tensor]:
    """Return the mixtures of a batch."""
    return {"mixture": make_mixtures(batch, device).mixture}


def _recipe(recipe: str, settings: str) -> tuple[dict, Classifier]:
    """Load a recipe, and its classifier with random weights.

    The statistics of its BatchNorm layers are set to those of the clips.
    """
    hparams = load_recipe(recipe, settings)
    classifier = hparams["classifier"].freeze()
    wavs = _mixed(batch_of(hparams, 4), "cpu")["mixture"]
    norms = [m for m in classifier.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:  # takes the mean and the variance of the next batch
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        classifier.decide(wavs)
    for norm in norms:
        norm.eval()
    return hparams, classifier
