"""Any metric of Quantus on any interpreter, one value a clip.

Quantus (Hedström et al., *Quantus: An Explainable AI Toolkit for Responsible
Evaluation of Neural Network Explanations and Beyond*, JMLR 2023) measures image
explanations; here its image is the complex STFT, as two real channels::

    x = (Re X, Im X)  --QuantusModel-->  |X| -> classifier -> logits
                      --explain_func-->  ISTFT(X) -> interpreter -> log(1 + |STFT(i)|)

so that a sound that Quantus changes can be explained anew, with its phase. Three of
its habits need care, and get it here:

- Its "black" is the most negative number of the input, loud in an STFT: a bin is
  removed by :func:`silence`, both channels at once. Its noise is of the size of an
  image: :func:`faint_noise` is 20 dB below the clip.
- It divides by the maximum of the whole batch, writes into the caller's arrays and
  asserts on constant maps: it is given one clip at a time, as copies, and a constant
  map has no value (NaN) and is counted.
- It draws at random: the same draw for every clip, and the global state is kept.

Everything else is as Quantus has it by default, but that what would take hours is
made coarser (see ``_SETTINGS``). What Quantus returns as a curve (PixelFlipping,
Selectivity, RegionPerturbation, ROAD) is given as its mean.
"""

import contextlib
import csv
import difflib
import io
import math
import re
import warnings
from dataclasses import dataclass, fields, replace

import numpy as np
import quantus
import torch
from quantus.helpers.enums import EvaluationCategory, ScoreDirection
from torch import nn

from lmac_td.errors import SettingError
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.table import ClipScores
from lmac_td.features import Features, magnitude_of
from lmac_td.files import write_atomically

_SEED = 0
# Removing bins in the order of the map takes at most twice as many passes.
_MOST_STEPS = 32
_MOST_PATCHES = 64
_NOISE_DB = -20

METRICS = {
    metric.__name__: metric
    for category in quantus.AVAILABLE_METRICS.values()
    for metric in category.values()
}
_ALSO_CALLED = {"ModelParameterRandomisation": "MPRT"} | {
    name: metric.__name__
    for category in quantus.AVAILABLE_METRICS.values()
    for name, metric in category.items()
}

_BETWEEN_CLIPS = "it compares the clips of a batch, so that no clip has a value"
REFUSED = {
    "Consistency": _BETWEEN_CLIPS,
    "SensitivityN": _BETWEEN_CLIPS,
    "Sufficiency": _BETWEEN_CLIPS,
    "Focus": "it needs mosaics of several images",
    "IROF": "it needs superpixels of an image",
    "InputInvariance": "it shifts the bias of a convolution that takes x itself, and "
    "the classifier's first layer takes something else",
    "Infidelity": "its patches must tile the spectrogram without a rest",
    "NonSensitivity": "it can only remove one number at a time, which is one pass of "
    "the classifier for each of some 400 000",
    "Monotonicity": "quantus 0.6 replaces silence by silence in it and finds every map "
    "monotonous: give MonotonicityCorrelation",
    "SmoothMPRT": "quantus 0.6 explains by Captum in it and never asks the "
    "interpreter: give MPRT or EfficientMPRT",
    "Continuity": "it moves the sound over frequency and fills the gap with loud "
    "numbers: give MaxSensitivity or LocalLipschitzEstimate",
}

# Quantus' own say, but for one: it returns how far the probability drops.
_DIRECTIONS = {"RegionPerturbation": ScoreDirection.HIGHER}
_ARROWS = {ScoreDirection.HIGHER: " ↑", ScoreDirection.LOWER: " ↓"}


class ConstantMapError(ValueError):
    """A map is the same everywhere, so that nothing can be said about its order."""


class QuantusModel(nn.Module):
    """The frozen classifier as Quantus sees it, from the STFT to logits.

    A classifier of waveforms is given the sound of the STFT.

    Arguments
    ---------
    features : SpectralFeatures
    classifier : Classifier

    Raises
    ------
    SettingError
        If the classifier has sigmoids: Quantus takes a softmax of logits.

    Example
    -------
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.features import SpectralFeatures
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, n_classes=10)
    >>> model = QuantusModel(features, classifier.freeze())
    >>> x = as_channels(features.stft(torch.randn(2, 16000)))
    >>> x.shape, model(torch.from_numpy(x)).shape
    ((2, 2, 87, 513), torch.Size([2, 10]))
    """

    def __init__(self, features, classifier):
        super().__init__()
        _require_softmax(classifier)
        self.features = features
        self.classifier = classifier
        self.deepest = nn.Identity()  # where Quantus may read a representation
        self.eval()

    def forward(self, x):
        """(B, 2, frames, bins) -> logits (B, C)."""
        return self.decide(x)[1].logits

    def decide(self, x):
        """(B, 2, frames, bins) -> :class:`Features` and :class:`Decision`."""
        stft = torch.complex(x[:, 0], x[:, 1])
        magnitude = magnitude_of(stft)
        features, classifier = Features(stft, magnitude), self.classifier
        if classifier.takes_spectrograms:
            inputs = classifier.inputs_of(magnitude=magnitude)
        else:
            length = self.features.hop_samples * (x.shape[2] - 1)
            inputs = classifier.inputs_of(self.features.istft(stft, length))
        decision = classifier(inputs)
        if decision.representations:
            self.deepest(decision.representations[0].values)
        return features, decision


def _require_softmax(classifier):
    if classifier.activation != "softmax":
        raise SettingError(
            f"quantus takes a softmax of logits, and {classifier.name} has sigmoids: "
            "leave --quantus out"
        )


def check_metrics(names, classifier):
    """Refuse metrics that cannot be run on a classifier.

    Arguments
    ---------
    names : sequence of str
        Of :func:`find_metrics`.
    classifier : Classifier

    Raises
    ------
    SettingError
    """
    _require_softmax(classifier)
    for name in names:
        lacks = None
        if name in _RANDOMISES and not any(True for _ in classifier.parameters()):
            lacks = "randomises weights", "has none"
        elif name in _READS_REPRESENTATIONS and not classifier.geometry:
            lacks = "compares representations", "gives none"
        if lacks:
            raise SettingError(
                f"quantus: {name} {lacks[0]}, and {classifier.name} {lacks[1]}: leave "
                "it out of --quantus"
            )


def as_channels(stft):
    """Complex (B, frames, bins) -> float32 array (B, 2, frames, bins), a copy."""
    channels = torch.stack([stft.real, stft.imag], dim=1)
    return channels.detach().cpu().float().numpy().copy()


def explain_func(interpreter, n_samples=None, sources=None):
    """Make an interpreter what Quantus calls an ``explain_func``.

    What it explains is the decision of the model that Quantus gives it, for the class
    that Quantus gives it. A decision brings its classifier with it, for interpreters
    that ask it again (Saliency, GradCAM, ...): so Quantus' randomised models are
    followed.

    Arguments
    ---------
    interpreter : Interpreter
    n_samples : int, optional
        Length T of the clips; by default the samples between first and last frame.
    sources : Sources, optional
        Of the very clips that Quantus will give; only the oracle sees them.

    Returns
    -------
    callable
        ``(model, inputs, targets, **kwargs) -> array (B, 1, frames, bins)`` with
        ``model`` a :class:`QuantusModel`, ``inputs`` (B, 2, frames, bins) and
        ``targets`` (B,). It raises :class:`ConstantMapError` for a constant map.

    Raises
    ------
    SettingError
        If the interpreter needs sources and none are given.

    Example
    -------
    >>> from lmac_td.classifiers.cnn14 import Cnn14Classifier
    >>> from lmac_td.features import SpectralFeatures
    >>> from lmac_td.interpreters.baselines import Identity
    >>> features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    >>> classifier = Cnn14Classifier(features, 80, (2, 4, 4, 8, 8), 8, n_classes=10)
    >>> scores = quantus.Sparseness(disable_warnings=True)(
    ...     model=QuantusModel(features, classifier.freeze()),
    ...     x_batch=as_channels(features.stft(torch.randn(1, 16000))),
    ...     y_batch=np.array([3]),
    ...     channel_first=True,
    ...     explain_func=explain_func(Identity(features)),
    ... )
    >>> len(scores)
    1
    """
    if interpreter.needs_sources and sources is None:
        raise SettingError(
            f"{type(interpreter).__name__} is told what a mixture is made of, and "
            "Quantus cannot tell it: give its sources, or leave this row out of "
            "--quantus"
        )

    @torch.no_grad()
    def explain(model, inputs, targets, **kwargs):
        device = model.features.window.device
        x = torch.as_tensor(inputs, dtype=torch.float32, device=device)
        features, decision = model.decide(x)
        targets = torch.as_tensor(targets, dtype=torch.int64, device=device)
        length = n_samples or model.features.hop_samples * (x.shape[2] - 1)
        wavs = model.features.istft(features.stft, length)
        given = {"sources": sources} if interpreter.needs_sources else {}
        explanation = interpreter(
            wavs, features, replace(decision, target=targets), **given
        )
        maps = _as_maps(explanation.attribution)
        if _constant(maps).any():
            raise ConstantMapError("a map is the same in every bin")
        return maps

    return explain


def silence(arr, indices, **_):
    """Quantus' perturbation: remove bins, the real and the imaginary part at once.

    Arguments
    ---------
    arr : array (B, 2n)
        Real parts of n bins, then imaginary parts.
    indices : array (B, k)
        Numbers to remove; the other part of each bin goes with it.

    Returns
    -------
    array (B, 2n), a copy

    Example
    -------
    >>> silence(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[3]])).tolist()
    [[1.0, 0.0, 3.0, 0.0]]
    """
    arr = arr.copy()
    n_bins = arr.shape[1] // 2
    clip = np.arange(len(arr))[:, None]
    arr[clip, indices % n_bins] = 0
    arr[clip, indices % n_bins + n_bins] = 0
    return arr


def faint_noise(arr, indices, **_):
    """Quantus' other perturbation: Gaussian noise, 20 dB below each clip.

    Arguments
    ---------
    arr : array (B, 2n)
    indices : array
        Not used: the noise is everywhere.

    Returns
    -------
    array (B, 2n), a copy
    """
    rms = np.sqrt(np.square(arr).mean(axis=1, keepdims=True))
    noise = np.random.standard_normal(arr.shape)
    return (arr + 10 ** (_NOISE_DB / 20) * rms * noise).astype(arr.dtype)


def impute(arr, indices, **kwargs):
    """ROAD's perturbation, of an input of two channels: bins, imputed in both.

    Arguments
    ---------
    arr : array (2, frames, bins)
    indices : array (k,)
        As in :func:`silence`.

    Returns
    -------
    array (2, frames, bins), a copy
    """
    bins = np.unique(indices % arr[0].size)
    return quantus.noisy_linear_imputation(arr=arr, indices=bins, **kwargs)


@dataclass(frozen=True)
class _Grid:
    """What a metric's settings depend on."""

    frames: int
    bins: int
    n_classes: int

    @property
    def size(self):
        return self.frames * self.bins


# The baseline is only named for Quantus: its value is what `silence` does.
_REMOVE = {"perturb_func": silence, "perturb_baseline": 0.0}


def _step(grid):
    # Quantus asks for a divisor. Each bin is two numbers: there are twice the steps.
    steps = range(min(_MOST_STEPS, grid.size), 0, -1)
    n_steps = next(n for n in steps if grid.size % n == 0)
    return _REMOVE | {"features_in_step": grid.size // n_steps}


def _patch(grid):
    return _REMOVE | {"patch_size": math.ceil(math.sqrt(grid.size / _MOST_PATCHES))}


def _noise(grid):
    return {"perturb_func": faint_noise, "nr_samples": 10}


_SETTINGS = {
    "PixelFlipping": _step,
    "FaithfulnessEstimate": _step,
    # Silence is always the same, so that one sample is as good as many.
    "MonotonicityCorrelation": lambda grid: _step(grid) | {"nr_samples": 1},
    "FaithfulnessCorrelation": lambda grid: (
        _REMOVE | {"subset_size": max(1, grid.size // 10), "nr_runs": 50}
    ),
    "RegionPerturbation": _patch,
    "Selectivity": _patch,
    "Completeness": lambda grid: _REMOVE,
    # Per cent of numbers where Quantus counts bins: twice 5, 10, 20 and 40 % of bins.
    "ROAD": lambda grid: {"perturb_func": impute, "percentages": [10, 20, 40, 80]},
    "MaxSensitivity": _noise,
    "AvgSensitivity": _noise,
    "LocalLipschitzEstimate": _noise,
    "RelativeInputStability": _noise,
    "RelativeOutputStability": _noise,
    "RelativeRepresentationStability": lambda grid: (
        _noise(grid) | {"layer_names": ["deepest"]}
    ),
    "TopKIntersection": lambda grid: {"k": min(1000, max(1, grid.size // 20))},
    "RandomLogit": lambda grid: {"num_classes": grid.n_classes},
    # After the last layer: the whole cascade is a figure of its own.
    "MPRT": lambda grid: {"return_last_correlation": True, "skip_layers": True},
}

# These ask the interpreter again: of other sounds, classes or classifiers.
_ASKS_AGAIN = {
    "MaxSensitivity",
    "AvgSensitivity",
    "LocalLipschitzEstimate",
    "RelativeInputStability",
    "RelativeOutputStability",
    "RelativeRepresentationStability",
    "RandomLogit",
    "MPRT",
    "EfficientMPRT",
}

_RANDOMISES = {"MPRT", "EfficientMPRT"}
_READS_REPRESENTATIONS = {"RelativeRepresentationStability"}


def find_metrics(names):
    """Names of metrics as Quantus' classes have them.

    Arguments
    ---------
    names : sequence of str
        Of classes (``RelevanceRankAccuracy``) or as in ``quantus.AVAILABLE_METRICS``
        (``Relevance Rank Accuracy``), however written.

    Returns
    -------
    list of str
        Each once, in the order given.

    Raises
    ------
    SettingError
        If a name is unknown, or the metric cannot be run on sounds.

    Example
    -------
    >>> find_metrics(["Pixel-Flipping", "sparseness"])
    ['PixelFlipping', 'Sparseness']
    """
    known = {_plain(name): name for name in METRICS}
    known = {_plain(name): metric for name, metric in _ALSO_CALLED.items()} | known
    found = {}
    for name in names:
        metric = known.get(_plain(str(name)))
        if metric is None:
            near = difflib.get_close_matches(_plain(str(name)), known, n=3, cutoff=0.5)
            near = dict.fromkeys(known[match] for match in near)
            near = [match for match in near if match not in REFUSED]
            near = near or sorted(set(METRICS) - set(REFUSED))
            raise SettingError(
                f"quantus: {name!r} is no metric of Quantus: give --quantus "
                + " or ".join(filter(None, [", ".join(near[:-1]), near[-1]]))
            )
        if metric in REFUSED:
            raise SettingError(
                f"quantus: {metric} cannot be run on sounds, because {REFUSED[metric]}"
                + ("" if ": give" in REFUSED[metric] else ": leave it out of --quantus")
            )
        found[metric] = None
    return list(found)


def _plain(name):
    return re.sub(r"[^a-z]", "", name.lower())


def run_quantus(names, spectral_features, batch, interpreter, sources=None):
    """Run metrics of Quantus on one explained batch, clip by clip.

    Arguments
    ---------
    names : sequence of str
        See :func:`find_metrics`.
    spectral_features : SpectralFeatures
    batch : ExplainedBatch
        Of B clips; nothing in it is changed.
    interpreter : Interpreter
        Which explained it.
    sources : Sources, optional
        By default those of ``batch``. The truth for the metrics of localisation: the
        ideal binary mask, 1 where the target's magnitude is the greater.

    Returns
    -------
    dict of str to list of float
        (B,) values by the class's name. NaN where a metric has none: of a constant
        map; of localisation where nothing is mixed in, or all bins are one source's;
        of the oracle explaining anew where its sources are not known.

    Raises
    ------
    SettingError
        See :func:`find_metrics` and :func:`check_metrics`.
    """
    names = find_metrics(names)
    check_metrics(names, batch.classifier)
    _, frames, bins = batch.features.magnitude.shape
    grid = _Grid(frames, bins, batch.decision.logits.shape[1])
    maps = _as_maps(batch.explanation.attribution)
    x = as_channels(batch.features.stft)
    y = batch.decision.target.cpu().numpy()
    model = QuantusModel(spectral_features, batch.classifier)
    constant = _constant(maps)
    sources = batch.sources if sources is None else sources
    truth, known = _truth(sources, maps.shape)
    values = {name: [math.nan] * len(maps) for name in names}
    for clip in np.flatnonzero(~constant):
        for name in names:
            if _localises(name):
                if not known[clip]:
                    continue
                given = {"s_batch": truth[clip, None].copy()}
            elif name in _ASKS_AGAIN:
                if interpreter.needs_sources and sources is None:
                    continue
                one = sources and _of_clip(sources, clip)
                length = batch.wavs.shape[-1]
                given = {"explain_func": explain_func(interpreter, length, one)}
            else:
                given = {}
            with contextlib.suppress(ConstantMapError):
                values[name][clip] = _value(
                    name,
                    grid,
                    model=model,
                    x_batch=x[clip, None].copy(),
                    y_batch=y[clip, None].copy(),
                    a_batch=maps[clip, None].copy(),
                    device=str(batch.wavs.device),
                    **given,
                )
    return values


def _value(name, grid, **batch):
    """One metric's value of one clip."""
    settings = _SETTINGS[name](grid) if name in _SETTINGS else {}
    with _as_if_nothing_happened():
        metric = METRICS[name](
            **settings,
            return_aggregate=False,
            disable_warnings=True,
            display_progressbar=False,
        )
        scores = metric(**batch, channel_first=True)
    scores = list(scores.values()) if isinstance(scores, dict) else scores
    return float(np.asarray(scores, dtype=np.float64).mean())


@contextlib.contextmanager
def _as_if_nothing_happened():
    """The same draw every time, no prints or warnings, global states kept."""
    state = np.random.get_state()
    try:
        with (
            torch.random.fork_rng(),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            np.random.seed(_SEED)
            torch.manual_seed(_SEED)
            yield
    finally:
        np.random.set_state(state)


def _as_maps(attribution):
    # In double precision, as lmac_td.metrics: the 1e-7 that Quantus adds is less there.
    return attribution.detach().unsqueeze(1).cpu().double().numpy().copy()


def _constant(maps):
    return maps.max(axis=(1, 2, 3)) == maps.min(axis=(1, 2, 3))


def _truth(sources, shape):
    """The ideal binary mask (B, 1, frames, bins), and for which clips there is one."""
    if sources is None:
        return None, np.zeros(shape[0], dtype=bool)
    mask = sources.target_magnitude > sources.interference_magnitude
    mixed = (sources.interference_magnitude > 0).flatten(1).any(dim=1)
    known = mixed & mask.flatten(1).any(dim=1) & ~mask.flatten(1).all(dim=1)
    return mask.unsqueeze(1).cpu().numpy().astype(int), known.cpu().numpy()


def _of_clip(sources, clip):
    parts = {f.name: getattr(sources, f.name)[clip, None] for f in fields(sources)}
    return type(sources)(**parts)


class QuantusScores:
    """Metrics of Quantus for every method under every condition.

    Arguments
    ---------
    names : sequence of str
        See :func:`find_metrics`; checked at once.
    spectral_features : SpectralFeatures

    Attributes
    ----------
    names : list of str
        Of the metrics, as Quantus' classes have them.
    rows : dict of (str, str) to ClipScores
        By condition and method.

    Raises
    ------
    SettingError
        See :func:`find_metrics`.
    """

    def __init__(self, names, spectral_features):
        self.names = find_metrics(names)
        self.spectral_features = spectral_features
        self.rows = {}

    def check(self, classifier):
        """Refuse a classifier that the metrics cannot be run on.

        Raises
        ------
        SettingError
            See :func:`check_metrics`.
        """
        check_metrics(self.names, classifier)

    def add(self, condition, method, batch_ids, batch, interpreter, sources=None):
        """Score one explained batch.

        Arguments
        ---------
        condition, method : str
            The row.
        batch_ids : sequence of str
            Of the B clips.
        batch : ExplainedBatch
        interpreter : Interpreter
            Which explained the batch.
        sources : Sources, optional
            By default those of ``batch``, see :func:`run_quantus`.
        """
        sources = batch.sources if sources is None else sources
        maps = _as_maps(batch.explanation.attribution)
        values = run_quantus(
            self.names, self.spectral_features, batch, interpreter, sources
        )
        _, known = _truth(sources, maps.shape)
        columns = {
            "clip_id": list(batch_ids),
            "constant map": _constant(maps).tolist(),
            "sources known": known.tolist(),
        }
        scores = self.rows.get((condition, method), ClipScores())
        scores.extend(columns | values)
        self.rows[condition, method] = scores

    def to_markdown(self):
        """Return one section a condition: means, 95 % intervals, what is left out.

        The metrics of localisation are left out of a condition in which nothing is
        mixed in.
        """
        sections = []
        for condition in dict.fromkeys(condition for condition, _ in self.rows):
            rows = {m: s for (c, m), s in self.rows.items() if c == condition}
            sections.append(self._section(condition, rows))
        return "\n".join(sections)

    def _section(self, condition, rows):
        in_truth = any(scores.values("sources known").any() for scores in rows.values())
        shown = [name for name in self.names if in_truth or not _localises(name)]
        left_out = [name for name in self.names if name not in shown]
        means, intervals, notes = [], [], []
        for method, scores in rows.items():
            summaries = [summarise(scores.values(name)) for name in shown]
            constant = int(scores.values("constant map").sum())
            values = [_number(value) for value, _, _ in summaries]
            means.append([method, *values, str(len(scores)), str(constant)])
            intervals.append([method, *(_interval(*ends) for _, *ends in summaries)])
            for name in shown:
                undefined = int(np.isnan(scores.values(name)).sum())
                if undefined > constant:
                    notes.append(
                        f"{method}: {name} has no value for {undefined} of "
                        f"{len(scores)} clips"
                    )
        if left_out:
            notes.append(
                f"{', '.join(left_out)}: left out, as nothing is mixed into these clips"
            )
        head = ["method", *(name + _arrow(name) for name in shown)]
        text = (
            f"### {condition}, Quantus {quantus.__version__}\n\n"
            + markdown_table([*head, "clips", "constant maps"], means)
            + "\n95 % intervals, bootstrap over clips:\n\n"
            + markdown_table(head, intervals)
        )
        return text + "".join(f"\n{note}.\n" for note in notes)

    def to_csv(self, path):
        """Write every clip's values, one line a clip, method and condition.

        Arguments
        ---------
        path : str or Path
            Where to write; folders are made.
        """
        columns = ["clip_id", "constant map", "sources known", *self.names]
        with write_atomically(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["condition", "method", *columns])
            for (condition, method), scores in self.rows.items():
                of_clips = zip(*(scores.columns[name] for name in columns), strict=True)
                writer.writerows([condition, method, *values] for values in of_clips)


def _localises(name):
    return METRICS[name].evaluation_category == EvaluationCategory.LOCALISATION


def _arrow(name):
    direction = _DIRECTIONS.get(name, METRICS[name].score_direction)
    return _ARROWS.get(direction, "")


def _number(value):
    return "–" if math.isnan(value) else f"{value:.4g}"


def _interval(low, high):
    return "–" if math.isnan(low) else f"[{_number(low)}, {_number(high)}]"
