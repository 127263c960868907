"""The parts of a source separation by SpeechBrain, as segments of audioLIME."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmac_td.audio import resample
from lmac_td.classifiers.speechbrain_sources import HYPERPARAMS, settings_of_source
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.perturbation.segments import (
    HarmonicPercussive,
    LoudestPart,
    Parts,
)
from lmac_td.model_sources import FOLDER, require_source
from lmac_td.runtime.loading import weights_only


class Separator:
    """A SpeechBrain ``SepformerSeparation``, from a waveform to its parts.

    It is loaded when the first clip is separated. Clips are resampled to the rate of
    the model and back, so parts of a model of 8 kHz hold nothing above 4 kHz; there,
    and where all parts are silent, the bins belong to the first part.

    Arguments
    ---------
    source : str or Path
        A folder with ``hyperparams.yaml``, or a hub id such as
        ``speechbrain/sepformer-whamr16k``. The yaml of a folder is executed when it is
        loaded: use only folders that you trust.
    sample_rate : int
        Of the clips, in Hz.
    trust_remote_code : bool
        See :class:`lmac_td.classifiers.speechbrain.SpeechBrainClassifier`.

    Raises
    ------
    CheckpointError
        If ``source`` is neither a folder of a model nor a hub id.
    """

    def __init__(
        self, source: str | Path, sample_rate: int, trust_remote_code: bool = False
    ) -> None:
        self.source = str(source)
        self.trust_remote_code = trust_remote_code
        self.sample_rate = sample_rate
        self._model = None
        remedy = (
            f"give --separator a folder with {HYPERPARAMS}, or a hub id such as "
            "speechbrain/sepformer-whamr16k"
        )
        is_local = require_source(source, remedy, setting="separator: ") == FOLDER
        if is_local and not (Path(source) / HYPERPARAMS).is_file():
            raise CheckpointError(
                f"separator: {source} has no {HYPERPARAMS}: give --separator the "
                "folder of a SpeechBrain SepformerSeparation"
            )

    def __call__(self, wav: Tensor) -> Tensor:
        """Separate a waveform (T,) into its parts, (P, T), on the CPU.

        Raises
        ------
        CheckpointError
            If the model cannot be downloaded or loaded.
        """
        if self._model is None:
            self._model = self.load()
        rate = self._model.hparams.sample_rate
        samples = resample(wav.cpu().float().numpy(), self.sample_rate, rate)
        with torch.no_grad():
            parts = self._model.separate_batch(torch.from_numpy(samples)[None])[0].T
        back = [resample(part, rate, self.sample_rate) for part in parts.numpy()]
        found = np.zeros((len(back), len(wav)), dtype=np.float32)
        for row, part in zip(found, back, strict=True):
            n = min(len(part), len(row))  # rounding of the two rates
            row[:n] = part[:n]
        return torch.from_numpy(found)

    def load(self):
        """Load the ``SepformerSeparation``, without a change of torch's random state.

        Raises
        ------
        CheckpointError
        SettingError
            If a source that is not on this disk runs code of its own.
        """
        from speechbrain.inference.separation import SepformerSeparation

        try:
            settings = settings_of_source(
                self.source, None, self.trust_remote_code, "separator"
            )
            settings["run_opts"] = {"device": "cpu"}
            with torch.random.fork_rng(devices=[]), weights_only():
                model = SepformerSeparation.from_hparams(source=self.source, **settings)
        except SettingError:
            raise
        except Exception as error:  # the yaml may run any code
            message = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"separator: {self.source} could not be downloaded or loaded "
                f"({type(error).__name__}: {message}): check the name, the network and "
                "the files, or give --separator null for median filters"
            ) from error
        return model.eval()


def build_parts(
    separator: str | Path | None,
    features: SpectralFeatures,
    segment_ms: float | None = 500,
    trust_remote_code: bool = False,
) -> LoudestPart:
    """Build the segments of audioLIME.

    Arguments
    ---------
    separator : str or Path, optional
        The source of a :class:`Separator`. By default tones and clicks are separated
        by median filters, which need no model.
    features : SpectralFeatures
    segment_ms : float, optional
        Duration of the windows of each part; None: each part is one segment.
    trust_remote_code : bool
        Of a :class:`Separator`.

    Raises
    ------
    CheckpointError, SettingError

    Example
    -------
    >>> parts = build_parts(None, SpectralFeatures(16000, 1024, 23.2199, 11.6099))
    >>> type(parts).__name__
    'HarmonicPercussive'
    """
    if separator is None:
        return HarmonicPercussive(features, segment_ms)
    separate = Separator(separator, features.sample_rate, trust_remote_code)
    return Parts(features, separate, segment_ms)
