"""Score clips: mixtures -> decision -> explanation -> scores.

The Brain's validation and ``eval_faithfulness.py`` run this same code. A batch costs
one STFT and one classifier pass for the mixtures, shared by all methods, then for
each method one pass of the interpreter and one classifier pass for what it keeps and
removes; every metric reads that one Explanation. The curves at equal size take one
classifier pass more, for the interpretation cut to each size. A second classifier
takes one pass for the mixtures, and one for each method.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from torch import Tensor
from tqdm import tqdm

from lmac_td.contracts import Classifier, ExplainedBatch, SurrogateExplanation
from lmac_td.data.mixing import has_interference, make_mixtures
from lmac_td.evaluation.batches import DecidedBatch, choose_targets, decide_batch
from lmac_td.evaluation.columns import AS_AUDIO
from lmac_td.evaluation.equal_size import at_equal_size
from lmac_td.evaluation.explaining import (
    answer,
    explain,
    has_stft_mask,
    with_resynthesised_sound,
)
from lmac_td.evaluation.second_classifier import SecondClassifier
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter
from lmac_td.metrics.confidence import apply_tie_tolerance
from lmac_td.targets import TargetChoice


@torch.no_grad()
def evaluate(
    table: FaithfulnessTable,
    condition: str,
    interpreters: Mapping[str, Interpreter],
    loader: Iterable,
    spectral_features: SpectralFeatures,
    classifier: Classifier,
    device: str = "cpu",
    on_batch: Callable | None = None,
    progress: bool = True,
    precision: str = "fp32",
    targets: TargetChoice | None = None,
    on_without_target: Callable | None = None,
    second_classifier: SecondClassifier | None = None,
    equal_size_by: Sequence[str] = ("energy",),
) -> None:
    """Score several methods on the same mixtures.

    Arguments
    ---------
    table : FaithfulnessTable
        Receives one row per method. A method that masks the classifier's spectrograms
        gets a second row, scored on the resynthesised sound ("as audio").
    condition : str
        Name of the mixtures.
    interpreters : dict of str to Interpreter
        The methods by their names in the table.
    loader : DataLoader
        Loads a dataset of :func:`lmac_td.data.datasets.make_dataset`.
    spectral_features : SpectralFeatures
    classifier : Classifier
    device : str
    on_batch : callable, optional
        Observer, called with (condition, method, decided, explained) after each batch;
        see :mod:`.observers`.
    progress : bool
        Show a progress bar.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``, the precision of the interpreters. The
        classifier always computes in float32: half precision has two or three
        digits, and AI compares two probabilities.
    targets : TargetChoice, optional
        Which class of each clip is explained; ``auto`` by default.
    on_without_target : callable, optional
        Called with (condition, decided) for the clips of a batch in which no tag
        reaches its threshold, which are not explained.
    second_classifier : SecondClassifier, optional
        Judges the explanations; its columns are added to every row.
    equal_size_by : sequence of str
        What the sizes of the equal-size columns are shares of, see
        :func:`~lmac_td.evaluation.equal_size.at_equal_size`.
    """
    targets = targets or TargetChoice()
    autocast = TorchAutocast(
        device_type=torch.device(device).type,
        dtype=AMPConfig.from_name(precision).dtype,
    )
    for batch in tqdm(loader, desc=condition, disable=not progress, dynamic_ncols=True):
        mixture = make_mixtures(batch, device)
        clips = decide_batch(batch, mixture, spectral_features, classifier)
        decided, without_target = choose_targets(clips, targets)
        table.add_without_target(condition, without_target)
        if without_target and on_without_target is not None:
            rows = [clips.clip_ids.index(clip_id) for clip_id in without_target]
            with autocast:
                on_without_target(
                    condition, clips.select(torch.tensor(rows, device=device))
                )
        for part in decided.split(len(batch.id)) if len(decided) else ():
            second = _about_mixtures(second_classifier, part)
            for method, interpreter in interpreters.items():
                with autocast:
                    explained = explain(part, interpreter)
                explained = answer(explained)
                if not has_interference(batch):
                    # The whole clip is the target, so nothing can be separated.
                    explained = replace(explained, sources=None)
                measured = at_equal_size(explained, spectral_features, equal_size_by)
                if second_classifier is not None:
                    of_parts = second_classifier.ask_about_parts(explained)
                    measured = {**measured, **second, **of_parts}
                more = measured, spectral_features
                score(table, condition, method, part, explained, *more)
                if on_batch is not None:
                    on_batch(condition, method, part, explained)
                if interpreter.classifier_input != "audio":
                    sounds = with_resynthesised_sound(explained, spectral_features)
                    score(table, condition, method + AS_AUDIO, part, sounds, *more)


def _about_mixtures(second_classifier, decided):
    """Return what a second classifier says about mixtures, if there is one."""
    if second_classifier is None:
        return {}
    return second_classifier.ask_about_mixtures(decided)


def score(
    table: FaithfulnessTable,
    condition: str,
    method: str,
    decided: DecidedBatch,
    explained: ExplainedBatch,
    measured: dict[str, Tensor] | None = None,
    spectral_features: SpectralFeatures | None = None,
) -> None:
    """Add one method's scores on one batch to the table.

    Arguments
    ---------
    table : FaithfulnessTable
    condition, method : str
        The row.
    decided : DecidedBatch
    explained : ExplainedBatch
        With the classifier's logits. If it has ``sources``, they are scored, too.
    measured : dict, optional
        Fields of :class:`~lmac_td.metrics.score_inputs.ScoreInputs` that took further
        passes, as :func:`~lmac_td.evaluation.equal_size.at_equal_size` returns them.
    spectral_features : SpectralFeatures, optional
        Gives the frames' positions in time to the metrics that need them.
    """
    classifier = explained.classifier
    p_x = explained.decision.probabilities
    p_in = apply_tie_tolerance(p_x, classifier.probabilities(explained.kept_logits))
    p_out = classifier.probabilities(explained.removed_logits)
    explanation, known = explained.explanation, dict(measured or {})
    if explained.sources is not None:
        known |= {
            "magnitude": explained.features.magnitude,
            "target": explained.sources.target,
            "target_mag": explained.sources.target_magnitude,
            "other_mag": explained.sources.interference_magnitude,
        }
    if has_stft_mask(explained):
        known["mask"] = explanation.mask
    if spectral_features is not None:
        known["sample_rate"] = spectral_features.sample_rate
        known["hop_samples"] = spectral_features.hop_samples
    if isinstance(explanation, SurrogateExplanation):
        known["surrogate_logits"] = explanation.class_logits.float()
    if classifier.activation == "sigmoid":
        known["threshold"] = classifier.threshold
    table.add(
        condition=condition,
        method=method,
        clip_ids=decided.clip_ids,
        labels=decided.labels,
        explained=explained.decision.target,
        p_x=p_x,
        p_in=p_in,
        p_out=p_out,
        wavs=explained.wavs,
        n_samples=decided.n_samples,
        interpretation=explanation.interpretation,
        residual=explanation.residual,
        attribution=explanation.attribution,
        **known,
    )
