"""Metrics of Quantus that cannot be run on sounds, or on some classifiers."""

from collections.abc import Sequence

from lmac_td.contracts import Classifier
from lmac_td.errors import SettingError

_BETWEEN_CLIPS = "it compares the clips of a batch, so that no clip has a value"

REFUSED = {
    "Consistency": _BETWEEN_CLIPS,
    "SensitivityN": _BETWEEN_CLIPS,
    "Sufficiency": _BETWEEN_CLIPS,
    "Focus": "it needs mosaics of several images",
    "IROF": "it needs superpixels of an image",
    "InputInvariance": "it shifts the bias of a convolution that takes x itself, and "
    "the classifier's first layer takes something else",
    "Infidelity": "its patches must cover the spectrogram exactly",
    "NonSensitivity": "it can only remove one number at a time, which is one pass of "
    "the classifier for each of about 400 000",
    "Monotonicity": "quantus 0.6 replaces silence by silence in it and finds every map "
    "monotonous: give MonotonicityCorrelation",
    "SmoothMPRT": "quantus 0.6 explains by Captum in it and never calls the "
    "interpreter: give MPRT or EfficientMPRT",
    "Continuity": "it moves the sound over frequency and fills the gap with large "
    "numbers: give MaxSensitivity or LocalLipschitzEstimate",
}
"""Metrics that cannot be run on sounds, and why."""

RANDOMISE_WEIGHTS = {"MPRT", "EfficientMPRT"}
READ_REPRESENTATIONS = {"RelativeRepresentationStability"}


def require_softmax(classifier: Classifier) -> None:
    """Refuse a classifier of sigmoids: Quantus takes a softmax of logits.

    Raises
    ------
    SettingError
    """
    if classifier.activation != "softmax":
        raise SettingError(
            f"quantus takes a softmax of logits, and {classifier.name} has sigmoids: "
            "leave --quantus out"
        )


def check_metrics(names: Sequence[str], classifier: Classifier) -> None:
    """Refuse metrics that cannot be run on a classifier.

    Arguments
    ---------
    names : sequence of str
        Names from :func:`~lmac_td.evaluation.quantus.find_metrics`.
    classifier : Classifier

    Raises
    ------
    SettingError
    """
    require_softmax(classifier)
    has_weights = any(True for _ in classifier.parameters())
    for name in names:
        lacks = None
        if name in RANDOMISE_WEIGHTS and not has_weights:
            lacks = "randomises weights", "has none"
        elif name in READ_REPRESENTATIONS and not classifier.geometry:
            lacks = "compares representations", "gives none"
        if lacks:
            raise SettingError(
                f"quantus: {name} {lacks[0]}, and {classifier.name} {lacks[1]}: leave "
                "it out of --quantus"
            )
