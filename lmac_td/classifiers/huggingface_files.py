"""Find and read a classifier that ``transformers`` saved.

A source is a folder in which ``save_pretrained`` saved a model and its feature
extractor, or the id of such a model on the Hugging Face hub. The configuration is read
before the weights are downloaded, so weights of unsupported models are not downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HTTPError
from speechbrain.utils.distributed import run_on_main

from lmac_td.errors import CheckpointError, SettingError
from lmac_td.reading import regular_size

CONFIG = "config.json"
EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
# One file or several files; safetensors are used if a model has both formats.
WEIGHTS = (
    ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
)
# A parameter that only training uses: SpecAugment replaces masked frames by it.
UNUSED = "masked_spec_embed"


def import_transformers() -> ModuleType:
    """Import and return ``transformers``, an optional package that is slow to import.

    Raises
    ------
    SettingError
        If the package is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise SettingError(
            "classifier: HuggingFaceClassifier needs the package transformers: `pip "
            'install "lmac-td[huggingface]"`'
        ) from error


class PretrainedFiles:
    """The files of one pretrained classifier.

    Arguments
    ---------
    source : str or Path
        The setting ``pretrained_classifier``: a folder, or an id on the hub. A folder
        that exists wins over an id.
    download_folder : str or Path, optional
        Where downloads are kept; by default the cache of the hub.
    revision : str, optional
        Branch, tag or commit on the hub.

    Raises
    ------
    SettingError
        If the source is not set, or transformers is not installed.
    CheckpointError
        From every method, if files are missing or damaged, or cannot be downloaded.
    """

    def __init__(
        self,
        source: str | Path,
        download_folder: str | Path | None = None,
        revision: str | None = None,
    ) -> None:
        if not source:
            raise SettingError(
                "pretrained_classifier is not set: give --pretrained_classifier a "
                "folder that save_pretrained wrote, or a Hugging Face hub id"
            )
        self.source = str(source)
        self.download_folder = download_folder
        self.revision = revision
        self.transformers = import_transformers()

    @property
    def is_local(self) -> bool:
        """Whether the source is a folder."""
        return Path(self.source).is_dir()

    def fetch(self, patterns: Sequence[str]) -> Path:
        """Download files if needed, and return their folder.

        Arguments
        ---------
        patterns : sequence of str
            Names of files, with wildcards.

        Returns
        -------
        Path

        Raises
        ------
        CheckpointError
            If the files cannot be downloaded.
        UnreadableFileError
            If one is a folder, a pipe or a device.
        """
        if self.is_local:
            folder = Path(self.source)
            for path in (p for pattern in patterns for p in folder.glob(pattern)):
                if path.exists():
                    regular_size(path)  # transformers would wait for a pipe
            return folder
        request = {
            "repo_id": self.source,
            "revision": self.revision,
            "cache_dir": self.download_folder,
            "allow_patterns": list(patterns),
        }
        try:
            run_on_main(huggingface_hub.snapshot_download, kwargs=request)
            folder = huggingface_hub.snapshot_download(**request, local_files_only=True)
        except (OSError, ValueError, HTTPError) as error:
            raise CheckpointError(
                f"pretrained_classifier: {self.source} is not a folder and could not "
                "be downloaded from the Hugging Face hub "
                f"({type(error.__cause__ or error).__name__}); check the name and the "
                "network, or give a folder that save_pretrained wrote"
            ) from error
        return Path(folder)

    @functools.cached_property
    def _description(self):
        return self.fetch([CONFIG, *EXTRACTORS])

    def read_config(self) -> Any:
        """Read the model's configuration from ``config.json``.

        Raises
        ------
        CheckpointError
            If it is missing or damaged.
        """
        folder = self._description
        if not (folder / CONFIG).is_file():
            raise CheckpointError(
                f"pretrained_classifier: {self.source} has no {CONFIG}: give a folder "
                "that save_pretrained wrote, or a Hugging Face hub id"
            )
        with self._reading(CONFIG):
            return self.transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )

    def read_extractor(self) -> Any:
        """Read the feature extractor that was saved beside the model.

        Raises
        ------
        CheckpointError
            If it is missing or damaged.
        """
        folder = self._description
        if not any((folder / name).is_file() for name in EXTRACTORS):
            raise CheckpointError(
                f"pretrained_classifier: {self.source} has no {EXTRACTORS[0]}: save "
                "the model's feature extractor into it by save_pretrained"
            )
        with self._reading(EXTRACTORS[0]):
            return self.transformers.AutoFeatureExtractor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )

    def read_network(self, config: Any) -> Any:
        """Read the model with its trained weights, in float32 and evaluation mode.

        Arguments
        ---------
        config : transformers.PretrainedConfig

        Returns
        -------
        transformers.PreTrainedModel

        Raises
        ------
        CheckpointError
            Also if weights are missing, have other sizes, or do not belong to the
            model: transformers would draw random weights or ignore weights.
        """
        folder = self._fetch_weights()
        with (
            self._reading("the file of its weights"),
            torch.random.fork_rng(devices=[]),
            _quiet(self.transformers),
        ):
            model = self.transformers.AutoModelForAudioClassification
            network, report = model.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are refused below
                output_loading_info=True,
            )
        self._require_all_weights(network, report)
        if hasattr(network.base_model, UNUSED):  # the decision does not depend on it
            delattr(network.base_model, UNUSED)
        return network.eval()

    def _fetch_weights(self):
        for patterns in WEIGHTS:
            folder = self.fetch(patterns)
            if any(True for pattern in patterns for _ in folder.glob(pattern)):
                return folder
        raise CheckpointError(
            f"pretrained_classifier: {self.source} has no weights (model.safetensors "
            "or pytorch_model.bin): save the model into it by save_pretrained"
        )

    def _require_all_weights(self, network, report):
        own = f"{network.base_model_prefix}."
        faults = {
            "have no": report["missing_keys"],
            "have another size of": {key for key, *_ in report["mismatched_keys"]},
            f"have more than {CONFIG} describes:": {
                key for key in report["unexpected_keys"] if key.startswith(own)
            },
        }
        for fault, keys in faults.items():
            keys = sorted(key for key in keys if not key.endswith(UNUSED))
            if keys:
                raise CheckpointError(
                    f"pretrained_classifier: the weights of {self.source} {fault} "
                    f"{keys[0]}: give a model that was trained and saved as "
                    f"{type(network).__name__}"
                )

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Raise a CheckpointError for any error of the block."""
        try:
            yield
        # transformers has no class of errors for files that are damaged, of an unknown
        # format or contradictory.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise CheckpointError(
                f"pretrained_classifier: {what} of {self.source} cannot be read "
                f"({type(error).__name__}: {reason}); save or download the model again"
            ) from error


@contextlib.contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Hide the progress bar and the table of weights on stderr; errors are raised."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
