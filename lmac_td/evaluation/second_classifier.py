"""Ask a second classifier about the class that the first one decided."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmac_td.contracts import Classifier, ExplainedBatch
from lmac_td.errors import SettingError
from lmac_td.evaluation.batches import DecidedBatch
from lmac_td.features import SpectralFeatures
from lmac_td.metrics.confidence import of_class


class SecondClassifier:
    """One or several classifiers that judge explanations of another classifier.

    They always take sounds: the mixture, the interpretation and the residual. Several
    classifiers give the mean of their scores.

    Arguments
    ---------
    classifiers : sequence of Classifier
        Frozen, on the device. Their classes may have another order than those of the
        first classifier, and they may have more.
    labels : sequence of str
        Names of the first classifier's classes.
    spectral_features : SpectralFeatures
        The STFT of the explanations, on the device.

    Raises
    ------
    SettingError
        If a classifier does not have one of the classes.

    Example
    -------
    >>> from lmac_td.classifiers.modules import ModuleClassifier
    >>> stft = SpectralFeatures(8000, 256, 32, 16)
    >>> network = torch.nn.Linear(8000, 2)
    >>> other = ModuleClassifier(network, 8000, ["dog", "cat"]).freeze()
    >>> second = SecondClassifier([other], ["cat", "dog"], stft)
    >>> second.ask(torch.tensor([0, 1]), (torch.randn(2, 8000), None))[0][0].shape
    torch.Size([2])
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        labels: Sequence[str],
        spectral_features: SpectralFeatures,
    ) -> None:
        self.classifiers = tuple(classifiers)
        self.spectral_features = spectral_features
        # The index of each of the first classifier's classes.
        self._classes = [
            torch.tensor(_places_of(labels, classifier)) for classifier in classifiers
        ]

    def ask_about_mixtures(self, decided: DecidedBatch) -> dict[str, Tensor]:
        """Return the scores of mixtures, which all methods share.

        Arguments
        ---------
        decided : DecidedBatch
            N entries.

        Returns
        -------
        dict of str to Tensor (N,)
            ``second_x`` and ``second_agrees_x`` of
            :class:`~lmac_td.metrics.score_inputs.ScoreInputs`.
        """
        mixture = decided.wavs, decided.features.magnitude
        ((p, agrees),) = self.ask(decided.decision.target, mixture)
        return {"second_x": p, "second_agrees_x": agrees}

    def ask_about_parts(self, explained: ExplainedBatch) -> dict[str, Tensor]:
        """Return the scores of what is kept and of what is removed, in one pass.

        Arguments
        ---------
        explained : ExplainedBatch
            N entries.

        Returns
        -------
        dict of str to Tensor (N,)
            ``second_in``, ``second_out`` and ``second_agrees_in``.
        """
        explanation, magnitude = explained.explanation, None
        if any(classifier.takes_spectrograms for classifier in self.classifiers):
            magnitude = self.spectral_features(explanation.residual).magnitude
        kept = explanation.interpretation, explanation.magnitude
        removed = explanation.residual, magnitude
        (p_in, agrees), (p_out, _) = self.ask(explained.decision.target, kept, removed)
        return {"second_in": p_in, "second_out": p_out, "second_agrees_in": agrees}

    @torch.no_grad()
    def ask(
        self, target: Tensor, *sounds: tuple[Tensor, Tensor | None]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the mean scores of the classifiers for several batches of sounds.

        Arguments
        ---------
        target : Tensor (N,), int64
            Classes of the first classifier.
        *sounds : (Tensor (N, T), Tensor (N, frames, bins) or None)
            Waveforms, and their |STFT| if it is known.

        Returns
        -------
        list of (Tensor (N,), Tensor (N,))
            For each batch, the probability of the target, and whether the classifier
            decides it: its most probable class is the target, or its tag reaches the
            threshold. Of several classifiers, the means.
        """
        by_classifier = [
            _answers(classifier, classes.to(target.device)[target], sounds)
            for classifier, classes in zip(self.classifiers, self._classes, strict=True)
        ]
        return [
            tuple(torch.stack(v).mean(dim=0) for v in zip(*answers, strict=True))
            for answers in zip(*by_classifier, strict=True)
        ]


def _answers(classifier, target, sounds):
    """Return probability (N,) and agreement (N,) of one classifier for each sound."""
    inputs = [classifier.inputs_of(wavs, magnitude) for wavs, magnitude in sounds]
    answers = []
    for logits in classifier.classify(*inputs):
        p = of_class(classifier.probabilities(logits), target)
        if classifier.activation == "sigmoid":
            agrees = p >= classifier.threshold
        else:
            agrees = logits.argmax(dim=1) == target
        answers.append((p, agrees.to(p.dtype)))
    return answers


def _places_of(labels, classifier):
    """Return the index of each label among the classes of a classifier."""
    places = {label: place for place, label in enumerate(classifier.labels)}
    for label in labels:
        if label not in places:
            known = ", ".join(list(places)[:5])
            raise SettingError(
                f"second_classifier: {classifier.name} has no class {label!r}, which "
                f"the classifier of the recipe has; its classes are {known}"
                f"{', ...' if len(places) > 5 else ''}: give a --second_classifier "
                "whose classes have the same names"
            )
    return [places[label] for label in labels]
