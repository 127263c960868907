"""The front door: a recording in, an interpretation out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmac_td.classifiers.check import check_classifier
from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError
from lmac_td.experiment.run_options import find_device
from lmac_td.features import SpectralFeatures
from lmac_td.inference.explain import Explainer
from lmac_td.inference.framing import Framing, stft_of, window_of
from lmac_td.inference.interpretation import Interpretation
from lmac_td.inference.methods import EVIDENCE, build_method
from lmac_td.inference.opened import Opened
from lmac_td.inference.opening import AUTO, open_classifier
from lmac_td.inference.sounds import Sound
from lmac_td.inference.targets import chosen, set_threshold
from lmac_td.inference.trained import open_trained
from lmac_td.interpreters.base import Interpreter
from lmac_td.runtime.process import set_up_process

logger = logging.getLogger(__name__)

# The classifier is checked on noise of this length: a shorter one is faster.
CHECKED_S = 1.0


class AudioInterpreter:
    """Explains recordings: which part of the sound made the classifier decide.

    Use :meth:`from_classifier`, which needs no training, or :meth:`from_hparams`,
    which opens what a training wrote.

    Arguments
    ---------
    classifier : Classifier
        It is frozen and moved to the device.
    interpreter : Interpreter
    features : SpectralFeatures, optional
        The STFT that the interpreter masks; by default the classifier's own, or one
        with windows of 23 ms.
    method : str
        The interpreter's name, for pages and messages.
    device : str, optional
        By default a GPU, if there is one.
    **framing
        Arguments of :class:`~lmac_td.inference.framing.Framing`: ``window_s``,
        ``overlap``, ``pad``, ``normalise`` and ``batch_size``.

    Raises
    ------
    SettingError
        If the classifier cannot be explained by this method.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 2, 64, stride=32),
    ...     torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten(),
    ... )
    >>> classifier = ModuleClassifier(network, 16000, ["dog", "rain"])
    >>> interpreter = AudioInterpreter.from_classifier(classifier, device="cpu")
    >>> result = interpreter.interpret_file({
    ...     "array": 0.1 * torch.randn(2, 11025), "sampling_rate": 11025
    ... }, target="rain")
    >>> result.target, result.interpretation.shape
    ('rain', torch.Size([16000]))
    """

    def __init__(
        self,
        classifier: Classifier,
        interpreter: Interpreter,
        features: SpectralFeatures | None = None,
        method: str = "interpreter",
        device: str | None = None,
        **framing: Any,
    ) -> None:
        set_up_process()
        device = find_device(device)
        classifier = classifier.freeze().to(device)
        features = (features or stft_of(classifier)).to(device)
        framing = _framing({"window_s": window_of(classifier)} | framing)
        length_s = min(CHECKED_S, framing.window_s)
        n_samples = round(length_s * classifier.sample_rate)
        for note in check_classifier(classifier, features, n_samples, device):
            logger.info(note)
        interpreter.check(classifier)
        interpreter = interpreter.to(device).eval()
        self.explainer = Explainer(
            classifier, interpreter, features, framing, method, device
        )

    @classmethod
    def from_classifier(
        cls,
        classifier: Classifier | str | Path | None = None,
        method: str = EVIDENCE,
        keep: float | str = 0.5,
        device: str | None = None,
        trust: bool = False,
        savedir: str | Path | None = None,
        features: SpectralFeatures | None = None,
        window_s: float | None = None,
        batch_size: int = 4,
        activation: str = AUTO,
        threshold: float | None = None,
        **options: Any,
    ) -> AudioInterpreter:
        """Explain a classifier by a method that needs no training.

        Arguments
        ---------
        classifier : Classifier, str or Path, optional
            A :class:`~lmac_td.contracts.Classifier`; or a folder or hub id of
            transformers or SpeechBrain, a folder of this package, or a yaml file that
            builds a classifier, see
            :func:`~lmac_td.inference.opening.open_classifier`. By default the reference
            classifier of ten sounds that is part of this package.
        method : str
            ``evidence``, or a name of :func:`~lmac_td.inference.methods.builders`.
        keep : float or str
            The share of the sound's energy that the interpretation keeps, or
            ``smallest``: the smallest convincing share.
        device : str, optional
        trust : bool
            Whether code of a classifier from the hub may be run.
        savedir : str or Path, optional
            Where downloads are kept.
        features : SpectralFeatures, optional
        window_s : float, optional
            Seconds of a window; see :class:`~lmac_td.inference.framing.Framing`.
        batch_size : int
            Windows that are explained at once.
        activation : str
            Of a classifier of transformers: ``softmax``, ``sigmoid`` (tags), or
            ``auto``, as its configuration says.
        threshold : float, optional
            Of a classifier of tags: a tag is present if its probability is at least
            this. By default the classifier's own.
        **options
            Further arguments of the method, such as ``kernels`` of evidence. A yaml
            file may give some; these ones win.

        Returns
        -------
        AudioInterpreter

        Raises
        ------
        SettingError
            If there is no such method or option, or it cannot explain the classifier.
        CheckpointError
            If the classifier cannot be opened.
        """
        if isinstance(classifier, Classifier):
            opened = Opened(classifier)
        else:
            opened = open_classifier(classifier, trust, savedir, activation)
        classifier = opened.classifier
        if threshold is not None:
            set_threshold(classifier, threshold)
        framing = {"batch_size": batch_size} | opened.framing
        if window_s is not None:
            framing["window_s"] = window_s
        features = features or opened.features or stft_of(classifier)
        options = {**opened.method_options.get(method, {}), **options}
        interpreter = build_method(method, features, keep, **options)
        return cls(classifier, interpreter, features, method, device, **framing)

    @classmethod
    def from_hparams(
        cls,
        source: str | Path | None = None,
        savedir: str | Path | None = None,
        overrides: Mapping[str, Any] | str | None = None,
        run_opts: Mapping[str, Any] | None = None,
        trust: bool = False,
        **framing: Any,
    ) -> AudioInterpreter:
        """Open a trained interpreter, in the manner of SpeechBrain's pretrained models.

        Arguments
        ---------
        source : str or Path, optional
            The output folder of a training, or a hub id with the same files. By default
            the budgeted network that is part of this package, for its reference
            classifier.
        savedir : str or Path, optional
            Where downloads are kept; by default the cache of the hub.
        overrides : mapping or str, optional
            Settings of the recipe to change, by name, or as yaml.
        run_opts : mapping, optional
            ``device`` of SpeechBrain's run options.
        trust : bool
            What is not on this disk is opened as weights and plain settings only. True
            allows its recipe to name code of its own.
        **framing
            Arguments of :class:`~lmac_td.inference.framing.Framing`.

        Returns
        -------
        AudioInterpreter

        Raises
        ------
        CheckpointError
            If files are missing, or belong to another model.
        SettingError
            If a recipe that is not trusted names code that is not of this package.
        """
        run_opts = dict(run_opts or {})
        device = run_opts.pop("device", None)
        if run_opts:
            raise SettingError(
                f"run_opts has {next(iter(run_opts))!r}: give device alone"
            )
        trained = open_trained(source, savedir, overrides, trust)
        return cls(
            trained.classifier,
            trained.interpreter,
            trained.features,
            trained.method,
            device,
            **trained.framing | framing,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the classifier knows."""
        return tuple(self.explainer.classifier.labels)

    @property
    def sample_rate(self) -> int:
        """The classifier's sample rate in Hz; recordings are resampled to it."""
        return self.explainer.classifier.sample_rate

    @property
    def method(self) -> str:
        """The name of the interpreter."""
        return self.explainer.method

    @property
    def classifier_name(self) -> str:
        """The name of the classifier in messages."""
        return self.explainer.classifier.name

    def check_target(self, target: str | int | None) -> None:
        """Refuse a label that the classifier does not know.

        Raises
        ------
        SettingError
        """
        classifier = self.explainer.classifier
        chosen(target, torch.zeros(classifier.n_classes), classifier)

    def interpret_file(
        self,
        path: Any,
        target: str | int | None = None,
        sample_rate: int | None = None,
        shares: Sequence[float] = (),
        progress: bool = False,
    ) -> Interpretation | list[Interpretation]:
        """Explain one recording.

        Arguments
        ---------
        path : str, Path, bytes, array or dict
            See :class:`~lmac_td.inference.sounds.Sound`: a file of any rate, length and
            number of channels; its bytes; an array with ``sample_rate``; or a
            dictionary ``{"array", "sampling_rate"}``.
        target : str, int or None
            A label, its number, or ``decided``. None is ``decided``; for a classifier
            of tags, it is every tag that reaches the threshold.
        sample_rate : int, optional
            Of an array, in Hz.
        shares : sequence of float
            Shares of the energy for the dial of a page, such as
            :data:`lmac_td.inference.dial.SHARES`.
        progress : bool
            Whether a terminal shows a bar of the windows of a long recording.

        Returns
        -------
        Interpretation or list of Interpretation
            A list only for a classifier of tags without a target, the most probable tag
            first; it is empty if no tag reaches the threshold.

        Raises
        ------
        LoadAudioError
            If the recording cannot be read, or is silent.
        SettingError
            If there is no such label.
        """
        found = self.explainer(Sound(path, sample_rate), target, shares, progress)
        has_tags = self.explainer.classifier.activation == "sigmoid"
        return found if has_tags and target is None else found[0]

    def interpret_batch(
        self,
        wavs: Tensor | Sequence[Any],
        lengths: Tensor | Sequence[float] | None = None,
        sample_rate: int | None = None,
        target: str | int | None = None,
    ) -> list[Interpretation] | list[list[Interpretation]]:
        """Explain several recordings.

        Arguments
        ---------
        wavs : Tensor (B, T), or sequence of arrays
        lengths : Tensor (B,), optional
            The length of each clip, as a share of the longest one, as in SpeechBrain.
        sample_rate : int, optional
            In Hz; by default the classifier's.
        target : str, int or None
            See :meth:`interpret_file`.

        Returns
        -------
        list
            What :meth:`interpret_file` returns, for each clip.
        """
        if lengths is not None:
            if len(lengths) != len(wavs):
                raise SettingError(
                    f"lengths has {len(lengths)} entries for {len(wavs)} clips: give "
                    "one share for each clip"
                )
            wavs = [
                wav[..., : round(float(share) * wav.shape[-1])]
                for wav, share in zip(wavs, lengths, strict=True)
            ]
        rate = sample_rate or self.sample_rate
        return [self.interpret_file(wav, target, rate) for wav in wavs]


def _framing(settings: dict[str, Any]) -> Framing:
    """Return the framing, and refuse names that it does not have."""
    known = Framing.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise SettingError(f"there is no option {name!r}: give {', '.join(known)}")
    return Framing(**settings)
