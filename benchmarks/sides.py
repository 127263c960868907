"""What is timed: a training step, and an evaluation batch, in the two ways."""

from functools import partial

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from speechbrain.utils.run_opts import RunOptions

from benchmarks.measure import Side, overrides
from benchmarks.published import published_brain
from lmac_td.data.mixing import mixtures_of
from lmac_td.evaluation import loop
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.build import load_recipe
from lmac_td.runtime.compilation import compile_networks
from lmac_td.training.brain import InterpreterBrain, modules_of

DEFAULT = "hparams/lmac_td.yaml"
PUBLISHED = "hparams/lmac_td_published.yaml"
# Of a recipe, what clips are made from.
CLIP_SETTINGS = ("signal_length_s", "sample_rate", "out_n_neurons")
SEVEN = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP")


def side(name, build, recipe, options, settings=(), **more):
    """One side of a measurement.

    Arguments
    ---------
    name : str
    build : callable
        Of this module.
    recipe : str
    options : argparse.Namespace
        Of :func:`benchmarks.measure.parser`.
    settings : sequence of (str, object)
        Of the recipe, besides those of the command line.
    **more
        What else ``build`` is given.

    Returns
    -------
    Side
    """
    given = {
        "recipe": recipe,
        "settings": overrides([*options.setting, *settings]),
        "batch_size": options.batch_size,
    }
    ours = build in (training, evaluation_batch)
    return Side(name, build, given | more, set_up=ours)


def training_as_published(recipe, settings, batch_size, device):
    """Work: a training step of SpeechBrain's modules, the published way."""
    hparams, classifier = _recipe(recipe, settings)
    brain = published_brain(hparams, hparams["interpreter"], classifier, device)
    return Training(brain, _batches(hparams, device), batch_size)


def training(recipe, settings, batch_size, device, **run_opts):
    """Work: a training step of this project's Brain."""
    hparams, classifier = _recipe(recipe, settings)
    brain = InterpreterBrain(
        modules=modules_of(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": device, **run_opts},
    )
    brain.on_stage_start(sb.Stage.TRAIN)
    return Training(brain, _batches(hparams), batch_size)


def evaluation_as_published(recipe, settings, batch_size, device):
    """Work: seven metrics of a batch, with the published numbers of passes."""
    hparams, classifier = _recipe(recipe, settings)
    brain = published_brain(hparams, hparams["interpreter"], classifier, device)
    brain.modules.eval()
    return Work(brain.evaluate_published, _batches(hparams, device), batch_size)


def evaluation_batch(
    recipe,
    settings,
    batch_size,
    device,
    equal_size=False,
    precision="fp32",
    compile=False,
    weights=None,
):
    """Work: a batch as the validation scores it; all columns with ``equal_size``.

    As in ``eval_faithfulness.py``, ``precision`` is that of the interpreter alone.
    ``weights``, a state dict, replace the interpreter's initial ones.
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
    def score(batch):
        table = FaithfulnessTable()
        if equal_size:
            loop.evaluate(
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
            mixture = mixtures_of(batch, device)
            decided = loop.decide_batch(
                batch, mixture, features, classifier, with_sources=False
            )
            with autocast:
                explained = loop.explain(decided, interpreter)
            explained = loop.answer(explained)
            loop.score(table, "in_domain", "interpreter", decided, explained)
        scores = table.rows["in_domain", "interpreter"]
        return {name: scores.values(name).tolist() for name in SEVEN}

    return Work(score, _batches(hparams), batch_size)


class Work:
    """A piece of work on a batch of clips; the batch can be exchanged.

    Arguments
    ---------
    act : callable
        Does the work on a batch, and returns a dict of what can be compared.
    make_batch : callable
        Called with a number of clips and a seed.
    batch_size : int
        Clips of the first batch.
    """

    def __init__(self, act, make_batch, batch_size):
        self.act, self.make_batch = act, make_batch
        self.take(batch_size)

    def take(self, batch_size, seed=0):
        """Replace the batch."""
        self.batch = self.make_batch(batch_size, seed)

    def __call__(self):
        """Do the work once."""
        return self.act(self.batch)


class Training(Work):
    """Steps of a Brain on one batch.

    The first call returns the loss and a digest of the gradient; the weights of both
    sides are the same then.

    Arguments
    ---------
    brain : sb.Brain
    make_batch, batch_size
        See :class:`Work`.
    """

    def __init__(self, brain, make_batch, batch_size):
        super().__init__(self.step, make_batch, batch_size)
        self.brain, self.digest = brain, None
        sb.Brain.on_fit_start(brain)  # there is no checkpoint to go on from
        brain.nonfinite_count = 0
        brain.optimizer.register_step_pre_hook(self._digest_once)

    def step(self, batch):
        """One step."""
        loss = float(self.brain.fit_batch(batch))
        return {"loss": loss, **self.digest}

    def _digest_once(self, *_):
        if self.digest is None:
            self.digest = digest(self.brain.modules["interpreter"])


def digest(module):
    """The gradient of a module: its norm, and a random projection of each tensor.

    The projections are on signs drawn at random. The difference of two of them has
    the root mean square of the difference of what was projected.
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


def batch_of(hparams, batch_size, seed=0):
    """Clips of noise under noise, as a loader gives them."""
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


def _batches(hparams, mixed_on=None):
    """A function of a number of clips and a seed that returns a batch.

    With ``mixed_on``, a device, the clips are mixed there, as the published way takes
    them. The function holds numbers alone, not the recipe's networks.
    """
    make = partial(batch_of, {name: hparams[name] for name in CLIP_SETTINGS})
    if mixed_on is None:
        return make
    return lambda batch_size, seed: _mixed(make(batch_size, seed), mixed_on)


def _mixed(batch, device):
    return {"mixture": mixtures_of(batch, device).mixture}


def _recipe(recipe, settings):
    """A recipe, and its classifier: random, but with the statistics of such clips."""
    hparams = load_recipe(recipe, settings)
    classifier = hparams["classifier"].freeze()
    wavs = _mixed(batch_of(hparams, 4), "cpu")["mixture"]
    norms = [m for m in classifier.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:  # the mean and the variance of what comes now
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        classifier.decide(wavs)
    for norm in norms:
        norm.eval()
    return hparams, classifier
