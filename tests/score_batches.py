"""Batches of explanations as :class:`FaithfulnessTable` measures them, and tables."""

import math

import pandas as pd
import torch

from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.curves import SIZES

N_RESAMPLES = 200
# Of clips and tags: several of a clip, and none of the clips 4, 6 and 7.
TAGS = [(0, 1), (0, 3), (1, 2), (2, 0), (2, 1), (2, 4), (3, 2), (5, 0)]


def columns_of(table, condition, method):
    """Columns of a row as lists; None where a label is missing."""
    return {
        name: [None if value is pd.NA else value for value in column.tolist()]
        for name, column in table.row(condition, method).items()
    }


def set_columns(table, condition, method, **columns):
    """Set columns of a row to other values."""
    table.put(condition, method, table.row(condition, method).assign(**columns))


def batch(n_clips=8, seed=0, prefix="clip"):
    """A batch of explanations as the evaluation hands it over."""
    generator = torch.Generator().manual_seed(seed)
    p_x, p_in, p_out = (3 * torch.randn(3, n_clips, 5, generator=generator)).softmax(
        dim=2
    )
    wavs = torch.rand(n_clips, 60, generator=generator) - 0.5
    kept = torch.rand(n_clips, 60, generator=generator)
    return {
        "clip_ids": [f"{prefix}{i}" for i in range(n_clips)],
        "labels": torch.arange(n_clips) % 5,
        "explained": p_x.argmax(dim=1),
        "p_x": p_x,
        "p_in": p_in,
        "p_out": p_out,
        "wavs": wavs,
        "interpretation": kept * wavs,
        "residual": wavs - kept * wavs,
        "attribution": torch.rand(n_clips, 4, 6, generator=generator) ** 3,
    }


def sources(n_clips=8, seed=5):
    """What :meth:`FaithfulnessTable.add` wants for the columns of the ground truth."""
    generator = torch.Generator().manual_seed(seed)
    target_mag, other_mag = torch.rand(2, n_clips, 4, 6, generator=generator) ** 4
    return {
        "magnitude": target_mag + other_mag,
        "target": torch.rand(n_clips, 60, generator=generator) - 0.5,
        "target_mag": target_mag,
        "other_mag": other_mag,
        "sample_rate": 200,  # of 60 samples: three segments of 100 ms
        "hop_samples": 19,
    }


def answers(n_clips=8, seed=6):
    """Probabilities at each size."""
    generator = torch.Generator().manual_seed(seed)
    p_kept, p_removed = torch.rand(2, n_clips, len(SIZES), generator=generator)
    return {"p_kept": p_kept, "p_removed": p_removed}


def answers_by_amplitude(n_clips=8):
    """The same, with sizes by amplitude."""
    return {f"{k}_amplitude": p for k, p in answers(n_clips, seed=7).items()}


def of_second_classifier(n_clips=8, seed=8):
    """What a second classifier answers."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(3, n_clips, generator=generator)
    agrees = torch.randint(2, (2, n_clips), generator=generator).float()
    names = "second_x", "second_in", "second_out", "second_agrees_x", "second_agrees_in"
    return dict(zip(names, (*p, *agrees), strict=True))


def part(arguments, start, stop):
    """Some entries of a batch; what is given once per batch stays."""
    return {
        name: value[start:stop] if isinstance(value, (list, torch.Tensor)) else value
        for name, value in arguments.items()
    }


def filled(**settings):
    """Two conditions, two methods; one zeros row."""
    table = FaithfulnessTable(settings, n_resamples=N_RESAMPLES)
    for condition in ("in-domain", "mixtures, 5 dB"):
        one, two = batch(seed=1), batch(seed=2)
        zeros = torch.zeros_like(two["wavs"])
        two |= {"interpretation": zeros, "residual": two["wavs"]}
        two |= {"attribution": torch.zeros_like(two["attribution"])}
        table.add(condition=condition, method="LMAC-TD", **one)
        table.add(condition=condition, method="zeros", **two)
    return table


def of_surrogate(n_clips=8, seed=11):
    """What :meth:`FaithfulnessTable.add` wants for the fidelity of a surrogate."""
    generator = torch.Generator().manual_seed(seed)
    return {"surrogate_logits": torch.randn(n_clips, 5, generator=generator)}


def with_groups():
    """A row with every column, one with some, one with undefined and infinite ones."""
    table = filled()
    more = sources() | answers() | answers_by_amplitude() | of_second_classifier()
    more |= of_surrogate()
    table.add(condition="more", method="m,\n1", **batch(), **more)
    b = batch(3, prefix="ünï,") | {"labels": None}
    table.add(condition="more", method="n", mask=b["attribution"], **b)
    kept = columns_of(table, "more", "n")["kept (dB)"]
    set_columns(table, "more", "n", **{"kept (dB)": [kept[0], -math.inf, *kept[2:]]})
    return table


# ---------------------------------------------------------------- tags: several a clip

TAGS = [(0, 1), (0, 3), (1, 2), (2, 0), (2, 1), (2, 4), (3, 2), (5, 0)]  # clip, tag


def tagged(seed=0):
    """Explanations of every tag above a threshold: clips 4, 6 and 7 have none."""
    b = batch(seed=seed)
    rows = torch.tensor([clip for clip, _ in TAGS])
    generator = torch.Generator().manual_seed(seed)
    p_x, p_in, p_out = torch.rand(3, len(TAGS), 5, generator=generator)
    entries = {
        name: [value[row] for row in rows] if isinstance(value, list) else value[rows]
        for name, value in b.items()
    }
    of_tags = {
        "explained": torch.tensor([tag for _, tag in TAGS]),
        "p_x": 0.5 + 0.5 * p_x,
        "p_in": p_in,
        "p_out": p_out,
        "attribution": torch.rand(len(TAGS), 4, 6, generator=generator),
        "threshold": 0.5,
    }
    return entries | of_tags


def tags_of(seed=0, **settings):
    table = FaithfulnessTable(n_resamples=N_RESAMPLES, **settings)
    table.add(condition="c", method="m", **tagged(seed))
    table.add_without_target("c", ["clip4"])
    table.add_without_target("c", [])
    table.add_without_target("c", ["clip6", "clip7"])
    return table


def lines_of(text):
    cells = [line.strip("|").split("|") for line in text.splitlines() if "|" in line]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in cells}
