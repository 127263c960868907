"""What a method may require of a classifier; each function refuses what is missing."""

from __future__ import annotations

from lmac_td.contracts.classifier import Classifier
from lmac_td.errors import SettingError


def require_representations(
    classifier: Classifier, method: str, at_least: int = 1
) -> None:
    """Refuse a classifier with fewer representations than a method decodes.

    Arguments
    ---------
    classifier : Classifier
    method : str
        The method's name, for the message.
    at_least : int
        The number of representations that the method needs.

    Raises
    ------
    SettingError
    """
    found = len(classifier.geometry)
    if found < at_least:
        needs = "representations"
        if at_least > 1:
            needs = f"at least {at_least} representations"
        raise SettingError(
            f"{method} decodes {needs}, and {classifier.name} gives {found or 'none'}: "
            "name its layers in the setting representations, or use a method that "
            "needs none, such as occlusion"
        )


def require_mel_bands(classifier: Classifier) -> None:
    """Refuse a classifier without mel bands, for methods that mask mel bands.

    Arguments
    ---------
    classifier : Classifier

    Raises
    ------
    SettingError
    """
    if classifier.mel is None:
        raise SettingError(
            f"domain is mel, but {classifier.name} has no mel bands to mask: give "
            "--domain stft"
        )


def require_gradients(classifier: Classifier, method: str) -> None:
    """Refuse a black box, for methods that need gradients.

    Arguments
    ---------
    classifier : Classifier
    method : str
        The method's name, for the message.

    Raises
    ------
    SettingError
    """
    if not classifier.differentiable:
        raise SettingError(
            f"{method} needs gradients, and {classifier.name} is a black box: use a "
            "method that perturbs the sound, such as rise or occlusion "
            "(lmac-td explain: --method rise; recipe: hparams/perturbation.yaml)"
        )
