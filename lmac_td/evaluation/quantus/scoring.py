"""Run metrics of Quantus on one explained batch, clip by clip.

Quantus divides by the maximum of the whole batch, writes into the caller's arrays and
asserts on constant maps. So it is given copies of one clip at a time, and a constant
map has no value (NaN). It draws random numbers: they are the same for every clip, and
the global generators are restored. If Quantus returns a curve (PixelFlipping,
Selectivity, RegionPerturbation, ROAD), the value is its mean.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch

from lmac_td.contracts import ExplainedBatch, Sources
from lmac_td.evaluation.quantus.catalogue import (
    METRICS,
    find_metrics,
    measures_localisation,
)
from lmac_td.evaluation.quantus.explain import (
    ConstantMapError,
    as_maps,
    explain_func,
    is_constant,
)
from lmac_td.evaluation.quantus.model import QuantusModel, as_channels
from lmac_td.evaluation.quantus.refusals import check_metrics
from lmac_td.evaluation.quantus.settings import EXPLAIN_AGAIN, Grid, settings_of
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.base import Interpreter

SEED = 0


def run_quantus(
    names: Sequence[str],
    spectral_features: SpectralFeatures,
    batch: ExplainedBatch,
    interpreter: Interpreter,
    sources: Sources | None = None,
) -> dict[str, list[float]]:
    """Run metrics of Quantus on one explained batch, clip by clip.

    Arguments
    ---------
    names : sequence of str
        See :func:`~lmac_td.evaluation.quantus.find_metrics`.
    spectral_features : SpectralFeatures
    batch : ExplainedBatch
        A batch of B clips; it is not changed.
    interpreter : Interpreter
        The one that explained the batch.
    sources : Sources, optional
        By default those of ``batch``. They give the ground truth of the localisation
        metrics: the ideal binary mask, 1 where the target's magnitude is the greater.

    Returns
    -------
    dict of str to list of float
        (B,) values by class name. NaN if a metric has no value: for a constant
        map; for localisation if nothing is mixed in, or one source holds all bins;
        for the oracle if it explains again and its sources are not known.

    Raises
    ------
    SettingError
        See :func:`~lmac_td.evaluation.quantus.find_metrics` and
        :func:`~lmac_td.evaluation.quantus.check_metrics`.
    """
    names = find_metrics(names)
    check_metrics(names, batch.classifier)
    _, frames, bins = batch.features.magnitude.shape
    grid = Grid(frames, bins, batch.decision.logits.shape[1])
    maps = as_maps(batch.explanation.attribution)
    x = as_channels(batch.features.stft)
    y = batch.decision.target.cpu().numpy()
    model = QuantusModel(spectral_features, batch.classifier)
    constant = is_constant(maps)
    sources = batch.sources if sources is None else sources
    truth, known = ideal_masks(sources, maps.shape)
    values = {name: [math.nan] * len(maps) for name in names}
    for clip in np.flatnonzero(~constant):
        for name in names:
            if measures_localisation(name):
                if not known[clip]:
                    continue
                given = {"s_batch": truth[clip, None].copy()}
            elif name in EXPLAIN_AGAIN:
                if interpreter.needs_sources and sources is None:
                    continue
                one = sources and _of_clip(sources, clip)
                length = batch.wavs.shape[-1]
                given = {"explain_func": explain_func(interpreter, length, one)}
            else:
                given = {}
            with contextlib.suppress(ConstantMapError):
                values[name][clip] = _value(
                    name,
                    grid,
                    model=model,
                    x_batch=x[clip, None].copy(),
                    y_batch=y[clip, None].copy(),
                    a_batch=maps[clip, None].copy(),
                    device=str(batch.wavs.device),
                    **given,
                )
    return values


def ideal_masks(
    sources: Sources | None, shape: Sequence[int]
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the ideal binary masks, and for which clips there is one.

    Arguments
    ---------
    sources : Sources or None
    shape : sequence of int
        Shape of the maps, (B, 1, frames, bins).

    Returns
    -------
    array (B, 1, frames, bins), int, or None
        1 where the target's magnitude is the greater.
    array (B,), bool
        False where nothing is mixed in, or one source holds all bins.
    """
    if sources is None:
        return None, np.zeros(shape[0], dtype=bool)
    mask = sources.target_magnitude > sources.interference_magnitude
    mixed = (sources.interference_magnitude > 0).flatten(1).any(dim=1)
    known = mixed & mask.flatten(1).any(dim=1) & ~mask.flatten(1).all(dim=1)
    return mask.unsqueeze(1).cpu().numpy().astype(int), known.cpu().numpy()


def _value(name, grid, **batch):
    """Return one metric's value for one clip."""
    with _quiet_and_seeded():
        metric = METRICS[name](
            **settings_of(name, grid),
            return_aggregate=False,
            disable_warnings=True,
            display_progressbar=False,
        )
        scores = metric(**batch, channel_first=True)
    scores = list(scores.values()) if isinstance(scores, dict) else scores
    return float(np.asarray(scores, dtype=np.float64).mean())


@contextlib.contextmanager
def _quiet_and_seeded():
    """Seed the global generators and restore them; print and warn nothing."""
    state = np.random.get_state()
    try:
        with (
            torch.random.fork_rng(),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            np.random.seed(SEED)
            torch.manual_seed(SEED)
            yield
    finally:
        np.random.set_state(state)


def _of_clip(sources, clip):
    parts = {f.name: getattr(sources, f.name)[clip, None] for f in fields(sources)}
    return type(sources)(**parts)
