"""Open a classifier by its folder, hub id or recipe, whichever package wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HTTPError

from lmac_td.classifiers.cnn14 import WEIGHTS, widths_of_shapes
from lmac_td.classifiers.cnn14_cosine import head_of_shapes, is_cosine
from lmac_td.errors import CheckpointError, SettingError, UnreadableFileError
from lmac_td.experiment.build import load_recipe
from lmac_td.experiment.kept import read_settings
from lmac_td.experiment.shipped import HPARAMS, REFERENCE_CLASSIFIER
from lmac_td.inference.classifier_recipe import is_recipe, open_recipe
from lmac_td.inference.opened import Opened, framing_of
from lmac_td.model_sources import require_source
from lmac_td.reading import regular_size

AUTO = "auto"
RECIPE = "recipe"
HUGGING_FACE, SPEECHBRAIN, SETTINGS = (
    "config.json", "hyperparams.yaml", "settings.json"
)  # fmt: skip


def open_classifier(
    source: str | Path | None = None,
    trust: bool = False,
    savedir: str | Path | None = None,
    activation: str = AUTO,
) -> Opened:
    """Open a classifier.

    Arguments
    ---------
    source : str or Path, optional
        A folder, or a hub id. Its files tell how it is opened: ``config.json`` is a
        model of transformers, ``hyperparams.yaml`` an ``EncoderClassifier`` of
        SpeechBrain, ``model.safetensors`` with ``labels.json`` a CNN14 that this
        package trained. Or a yaml file that builds a classifier, see
        :mod:`lmac_td.inference.classifier_recipe`. By default the reference classifier
        of this package.
    trust : bool
        SpeechBrain runs the yaml of a source. One that is not on this disk is opened
        only if this is True.
    savedir : str or Path, optional
        Where downloads are kept; by default the cache of the hub.
    activation : str
        Of a model of transformers, see
        :class:`~lmac_td.classifiers.huggingface.HuggingFaceClassifier`.

    Returns
    -------
    Opened

    Raises
    ------
    CheckpointError
        If it cannot be found or opened.
    SettingError
        If its code would be run and is not trusted, or a yaml file builds none.
    """
    if source is None:
        source = REFERENCE_CLASSIFIER
    kind = RECIPE if is_recipe(source) else kind_of(source)
    if kind == HUGGING_FACE:
        from lmac_td.classifiers.huggingface import HuggingFaceClassifier

        classifier = HuggingFaceClassifier(
            source,
            activation=activation,
            download_folder=savedir,
        )
        return Opened(classifier)
    if activation != AUTO:
        raise SettingError(
            f"activation is {activation}, but {source} is no model of transformers: "
            "leave it out"
        )
    if kind == RECIPE:
        return open_recipe(source)
    if kind == SPEECHBRAIN:
        if not (trust or Path(source).is_dir()):
            raise SettingError(
                f"{source} is a classifier of SpeechBrain, whose yaml can run any "
                "code: give --trust (in Python: trust=True) if you trust its "
                "authors, or another classifier"
            )
        from lmac_td.classifiers.speechbrain import SpeechBrainClassifier

        classifier = SpeechBrainClassifier(source, savedir, trust_remote_code=trust)
        return Opened(classifier)
    return open_cnn14(Path(source))


def kind_of(source: str | Path) -> str:
    """Return the name of the file that tells how a source is opened.

    Raises
    ------
    CheckpointError
        If it holds none of them, or cannot be found.
    """
    folder = Path(source)
    if folder.is_dir():
        if (folder / WEIGHTS).is_file() and not (folder / HUGGING_FACE).is_file():
            return WEIGHTS
        found = [n for n in (HUGGING_FACE, SPEECHBRAIN) if (folder / n).is_file()]
        if found:
            return found[0]
        raise CheckpointError(
            f"{source} holds no classifier: give a folder with {HUGGING_FACE} "
            f"(transformers), {SPEECHBRAIN} (SpeechBrain) or {WEIGHTS} "
            "(train_classifier.py), or a hub id such as owner/name"
        )
    require_source(
        source, "give the folder of a classifier, or a hub id such as owner/name"
    )
    name = str(source)
    try:
        files = huggingface_hub.list_repo_files(name)
    except (OSError, ValueError, HTTPError) as error:
        # What is in the cache already needs no network.
        cached = [
            kind
            for kind in (HUGGING_FACE, SPEECHBRAIN)
            if isinstance(huggingface_hub.try_to_load_from_cache(name, kind), str)
        ]
        if cached:
            return cached[0]
        raise CheckpointError(
            f"{source} is not a folder and could not be found on the Hugging Face hub "
            f"({type(error).__name__}): check the name and the network"
        ) from error
    for kind in (SPEECHBRAIN, HUGGING_FACE):
        if kind in files:
            return kind
    raise CheckpointError(
        f"{source} has neither {HUGGING_FACE} nor {SPEECHBRAIN}: give another hub id"
    )


def open_cnn14(folder: Path) -> Opened:
    """Open a CNN14 that ``train_classifier.py`` exported.

    Its widths are read from ``settings.json``, or else from the weights.

    Arguments
    ---------
    folder : Path
        With ``model.safetensors`` and ``labels.json``.
    """
    shapes = shapes_of(folder / WEIGHTS)
    settings = widths_of_shapes(shapes, folder / WEIGHTS)
    trained_with = read_settings(folder)
    names = ("sample_rate", "n_fft", "win_length", "hop_length", "signal_length_s")
    if is_cosine(shapes):
        settings |= head_of_shapes(shapes)
        names += ("logit_scale",)
    settings |= {name: trained_with[name] for name in names if name in trained_with}
    recipe = load_recipe(evidence_recipe(shapes), settings)
    classifier = recipe["classifier"]
    classifier.load(folder, folder)
    return Opened(classifier, framing_of(recipe))


def evidence_recipe(shapes: Mapping[str, Sequence[int]]) -> Path:
    """Return the recipe of evidence for a CNN14 with weights of these shapes."""
    name = "published/evidence_cosine" if is_cosine(shapes) else "evidence"
    return HPARAMS / f"{name}.yaml"


def shapes_of(path: Path) -> dict[str, list[int]]:
    """Read the shapes of the weights of a CNN14, not the weights.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    import safetensors

    try:
        regular_size(path)
        with safetensors.safe_open(path, "pt") as weights:
            return {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118
    except (OSError, UnreadableFileError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} does not hold the weights of a CNN14 ({error}): give a folder "
            "that train_classifier.py wrote"
        ) from error
