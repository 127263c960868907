"""A classifier without gradients: a function, an ONNX session, a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmac_td.classifiers.labels import read_labels
from lmac_td.classifiers.logits import logits_of_probabilities
from lmac_td.contracts import ACTIVATIONS, Classifier
from lmac_td.errors import SettingError
from lmac_td.validation import require_choice, require_number


class BlackBoxClassifier(Classifier):
    """A classifier that is a function from waveforms to scores.

    It has neither gradients nor representations. Only methods that perturb the sound
    and call the function again can explain it; the others refuse it.

    Arguments
    ---------
    function : callable
        Maps waveforms (B, T), a numpy array of float32 that it may overwrite, to scores
        (B, C): logits, or probabilities with ``probabilities_out``. It is called on the
        CPU. The scores of a sound must not depend on the rest of the batch.
    sample_rate : int
        Sample rate of the waveforms, in Hz.
    labels : sequence of str, int, or str or Path
        Names of the classes, their number, or a text file with one name per line.
    activation : str
        ``softmax`` (one class per clip) or ``sigmoid`` (tags).
    threshold : float
        For sigmoids: a tag is present if its probability is at least this.
    probabilities_out : bool
        Whether the scores are probabilities of that activation.

    Raises
    ------
    SettingError
        If a setting has a value that cannot work.

    Example
    -------
    >>> def loudness(wavs):
    ...     level = np.sqrt((wavs**2).mean(axis=1))
    ...     return np.stack([0.1 - level, level - 0.1], axis=1)
    >>> classifier = BlackBoxClassifier(loudness, 16000, ["quiet", "loud"]).freeze()
    >>> decision = classifier.decide(torch.tensor([[0.01, -0.01], [0.5, -0.5]]))
    >>> [classifier.labels[target] for target in decision.target]
    ['quiet', 'loud']

    An ONNX model whose only input is waveforms and whose first output is probabilities
    (``pip install onnxruntime``)::

        session = onnxruntime.InferenceSession("tagger.onnx")
        (waveforms,) = session.get_inputs()
        classifier = BlackBoxClassifier(
            lambda wavs: session.run(None, {waveforms.name: wavs})[0],
            sample_rate=48000,
            labels="labels.txt",
            activation="sigmoid",
            probabilities_out=True,
        )
    """

    differentiable = False

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        sample_rate: int,
        labels: Sequence[str] | int | str | Path,
        activation: str = "softmax",
        threshold: float = 0.5,
        probabilities_out: bool = False,
    ) -> None:
        super().__init__()
        if not callable(function):
            raise SettingError(
                f"function is a {type(function).__name__}: give a callable that takes "
                "waveforms (B, T) and returns scores (B, C)"
            )
        require_choice("activation", activation, ACTIVATIONS)
        require_number("tag_threshold", threshold, most=1)
        named = getattr(function, "func", function)  # of a recipe's !name:
        self.name = getattr(named, "__name__", type(named).__name__)
        self.function = function
        self.sample_rate = sample_rate
        self.labels = read_labels(labels)
        self.activation = activation
        self.threshold = threshold
        self.probabilities_out = probabilities_out

    def inputs(self, wavs: Tensor) -> Tensor:
        """Return the waveforms (B, T): they are the inputs."""
        return wavs

    def run(self, inputs: Tensor) -> tuple[Tensor, tuple[()]]:
        """Compute logits of waveforms, without gradients and representations.

        Raises
        ------
        SettingError
            If the function does not return one finite score per clip and class.
        """
        # A copy: the function may overwrite what it is given.
        wavs = np.array(inputs.detach().float().cpu().numpy(), order="C")
        scores = torch.from_numpy(self._checked(self.function(wavs), len(wavs)))
        if self.probabilities_out:
            scores = logits_of_probabilities(scores, self.activation)
        return scores.to(inputs.device), ()

    def _checked(self, scores: object, n_clips: int) -> np.ndarray:
        try:
            scores = np.array(scores, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"{self.name} returns a {type(scores).__name__}: return an "
                f"array ({n_clips}, {self.n_classes}) of numbers"
            ) from error
        if scores.shape != (n_clips, self.n_classes):
            raise SettingError(
                f"{self.name} returns {scores.shape} for {n_clips} clips and "
                f"{self.n_classes} labels: return "
                f"({n_clips}, {self.n_classes}), one score per clip and class"
            )
        if not np.isfinite(scores).all():
            raise SettingError(
                f"{self.name} returns scores that are not finite: return finite "
                "logits, or probabilities with probabilities_out: True"
            )
        if self.probabilities_out and not ((scores >= 0) & (scores <= 1)).all():
            raise SettingError(
                f"{self.name} returns scores below 0 or above 1, which are not "
                "probabilities: set probabilities_out to False"
            )
        return scores
