"""Where SpeechBrain's pretrained models come from, and what their yaml may build.

SpeechBrain builds whatever the ``hyperparams.yaml`` of a model names, which can be any
code. A model that is not on this disk is opened only if its yaml names networks of
SpeechBrain and torch, and plain settings, unless the user trusts its authors.
"""

from __future__ import annotations

import inspect
import logging
import pydoc
from pathlib import Path
from typing import Any

import ruamel.yaml
from speechbrain.utils.fetching import fetch
from torch import nn

from lmac_td.errors import SettingError
from lmac_td.names import name_of_source
from lmac_td.reading import read_text

logger = logging.getLogger(__name__)

HYPERPARAMS = "hyperparams.yaml"
LARGEST = 2**20  # bytes of a yaml
SAFE_TAGS = ("!ref", "!copy", "!tuple")
# Networks of these packages are built, if no argument names a file to read.
PACKAGES = (
    "torch.nn.", "speechbrain.nnet.", "speechbrain.lobes.", "speechbrain.processing.",
    "speechbrain.decoders.",
)  # fmt: skip
# Functions of these packages may be named; none is called when the yaml is read.
FUNCTIONS = ("torch.nn.functional", "speechbrain.nnet.", "speechbrain.decoders.")
OTHERS = (
    "speechbrain.utils.parameter_transfer.Pretrainer",
    "speechbrain.dataio.encoder.CategoricalEncoder",
    "speechbrain.dataio.encoder.TextEncoder",
    "speechbrain.dataio.encoder.CTCTextEncoder",
    "speechbrain.dataio.preprocess.AudioNormalizer",
    "sentencepiece.SentencePieceProcessor",
)
# Parts of the names of arguments by which a network reads files or downloads.
READS = {"path", "source", "save", "folder", "file", "url", "dir", "root", "hub"}


def settings_of_source(
    source: str,
    savedir: str | Path | None,
    trust_remote_code: bool,
    setting: str = "pretrained_classifier",
) -> dict[str, Any]:
    """Return arguments of SpeechBrain's ``from_hparams``; check what is not local.

    Arguments
    ---------
    source : str
        A folder, an address or a hub id.
    savedir : str or Path, optional
        Where downloads are kept, one folder for each source.
    trust_remote_code : bool
        Whether a yaml that is not on this disk may run any code.
    setting : str
        The setting that names the source, for messages.

    Returns
    -------
    dict

    Raises
    ------
    SettingError
        If the yaml of a source that is not local runs code of its own, or its address
        is not encrypted.
    Exception
        Any, if the yaml cannot be fetched.
    """
    if Path(source).is_dir():
        # The yaml may contain the address of the hub from which it was copied.
        return {
            "overrides": {"pretrained_path": source}, "overrides_must_match": False
        }  # fmt: skip
    require_https(source, setting)
    settings = {}
    if savedir is not None:
        # SpeechBrain does not check from which source a file is.
        settings["savedir"] = str(Path(savedir) / name_of_source(source))
    if not trust_remote_code:
        path = Path(fetch(HYPERPARAMS, source, **settings))
        require_no_code(read_text(path, LARGEST), source, setting)
        logger.warning(
            "%s is not on this disk: its weights and plain settings are used, and no "
            "code of its own.",
            source,
        )
    return settings


def require_https(source: str, setting: str) -> None:
    """Refuse an address whose content could be changed on its way.

    Raises
    ------
    SettingError

    Example
    -------
    >>> require_https("http://127.0.0.1:8000/model", "pretrained_classifier")
    >>> require_https("http://example.org/model", "pretrained_classifier")
    Traceback (most recent call last):
    lmac_td.errors.SettingError: pretrained_classifier is http://example.org/model, \
which is not encrypted: give an address that begins with https://
    """
    if source.startswith("http://"):
        host = source.removeprefix("http://").partition("/")[0].partition(":")[0]
        if host not in ("localhost", "127.0.0.1"):
            raise SettingError(
                f"{setting} is {source}, which is not encrypted: give an address that "
                "begins with https://"
            )


def require_no_code(text: str, source: str, setting: str) -> None:
    """Refuse a yaml that builds more than networks of SpeechBrain and torch.

    Arguments
    ---------
    text : str
        A yaml for HyperPyYAML.
    source, setting : str
        For the message.

    Raises
    ------
    SettingError
    """
    try:
        events = ruamel.yaml.YAML().parse(text)
        tags = [event.tag for event in events if getattr(event, "tag", None)]
    except (ruamel.yaml.error.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingError(
            f"{setting}: the {HYPERPARAMS} of {source} cannot be read ({reason})"
        ) from error
    for tag in tags:
        if not is_safe(str(tag)):
            raise SettingError(
                f"{setting}: the {HYPERPARAMS} of {source} names {tag}, which is no "
                "network of SpeechBrain or torch, and could run any code: give "
                "--trust_remote_code True (`lmac-td explain`: --trust) if you trust "
                "its authors, or another source"
            )


def is_safe(tag: str) -> bool:
    """Return whether a tag of HyperPyYAML builds a network or a plain value.

    Example
    -------
    >>> is_safe("!new:speechbrain.lobes.features.Fbank"), is_safe("!ref")
    (True, True)
    >>> is_safe("!apply:os.system"), is_safe("!new:torch.nn.modules.module.Module.x")
    (False, False)
    """
    if tag in SAFE_TAGS:
        return True
    kind, _, name = tag.partition(":")
    if kind not in ("!new", "!name") or not name.startswith((*PACKAGES, *OTHERS)):
        return False
    if name in OTHERS:
        return True
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport:
        return False
    module = f"{getattr(found, '__module__', '')}."
    if inspect.isclass(found):
        return (
            issubclass(found, nn.Module)
            and module.startswith(PACKAGES)
            and not _reads_files(found)
        )
    return (
        kind == "!name" and inspect.isfunction(found) and module.startswith(FUNCTIONS)
    )


def _reads_files(network):
    names = inspect.signature(network).parameters
    return any(READS & set(name.split("_")) for name in names)
