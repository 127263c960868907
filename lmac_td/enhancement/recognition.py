"""Count word errors with a speech recogniser of SpeechBrain, and JiWER."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmac_td.classifiers.speechbrain_sources import settings_of_source
from lmac_td.enhancement.mixtures import NoisySpeech
from lmac_td.errors import DataError, SettingError
from lmac_td.names import name_of_source
from lmac_td.runtime.loading import weights_only

CLASSES = ("EncoderDecoderASR", "EncoderASR", "WhisperASR")


class Recogniser:
    """A speech recogniser, asked before and after the enhancement.

    Arguments
    ---------
    network : object
        It has ``transcribe_batch(wavs, relative lengths)``, as the classes of
        ``speechbrain.inference.ASR`` do, which returns the texts first.

    Raises
    ------
    SettingError
        If JiWER is not installed.
    """

    def __init__(self, network: Any) -> None:
        try:
            import jiwer
        except ModuleNotFoundError as error:
            raise SettingError(
                "asr_source needs JiWER, which is not installed: "
                "pip install 'lmac-td[asr]'"
            ) from error
        self.network = network
        self._process = jiwer.process_words
        self._words = jiwer.Compose(
            [
                jiwer.ToLowerCase(),
                jiwer.RemovePunctuation(),
                jiwer.RemoveMultipleSpaces(),
                jiwer.Strip(),
                jiwer.ReduceToListOfListOfWords(),
            ]
        )

    def errors(self, transcript: str, mixture: Tensor, enhanced: Tensor) -> dict:
        """Count the word errors in a mixture (T,) and in its enhancement (T,).

        Returns
        -------
        dict of str to int
            ``words`` of the transcript, ``errors (mixture)``, ``errors (enhanced)``.
            Their sums over utterances give the word error rate.
        """
        counted = {}
        for name, wav in (("mixture", mixture), ("enhanced", enhanced)):
            texts, *_ = self.network.transcribe_batch(wav[None], torch.ones(1))
            found = self._process(
                transcript,
                texts[0],
                reference_transform=self._words,
                hypothesis_transform=self._words,
            )
            replaced = found.substitutions + found.deletions
            counted["words"] = found.hits + replaced
            counted[f"errors ({name})"] = replaced + found.insertions
        return counted


def load_recogniser(
    source: str | None,
    kind: str,
    folder: str | Path,
    device: str,
    trust_remote_code: bool = False,
) -> Recogniser | None:
    """Load the recogniser that a recipe names.

    Arguments
    ---------
    source : str or None
        A folder or a hub id of SpeechBrain; None for no recogniser.
    kind : str
        Its class in ``speechbrain.inference.ASR``; one of :data:`CLASSES`.
    folder : str or Path
        Where its files are collected, one folder for each source.
    device : str
    trust_remote_code : bool
        See :class:`lmac_td.classifiers.speechbrain.SpeechBrainClassifier`.

    Returns
    -------
    Recogniser or None

    Raises
    ------
    SettingError
        If it cannot be loaded.
    """
    if source is None:
        return None
    from speechbrain.inference import ASR

    cls = getattr(ASR, kind)
    try:
        settings = settings_of_source(source, folder, trust_remote_code, "asr_source")
        settings.setdefault("savedir", str(Path(folder) / name_of_source(source)))
        settings["run_opts"] = {"device": device}
        with weights_only():
            network = cls.from_hparams(source, **settings)
    except SettingError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(
            f"asr_source {source} cannot be loaded as a {kind} ({error}): give the "
            "folder or the hub id of a recogniser of SpeechBrain, and its asr_class"
        ) from error
    return Recogniser(network)


def require_transcripts(mixtures: Sequence[NoisySpeech], folder: str | Path) -> None:
    """Refuse to recognise utterances without a transcript.

    Raises
    ------
    DataError
    """
    for noisy in mixtures:
        if not noisy.transcript:
            raise DataError(
                f"{folder} has no transcript of {noisy.utterance}, which asr_source "
                "needs: list it in metadata.csv, or set asr_source to null"
            )
