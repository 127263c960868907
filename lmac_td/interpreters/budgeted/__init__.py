"""Budgeted explanations: scores, cut to a mask that keeps a given size of the sound.

A :class:`~.scores.Scores` object gives scores for the bins of the STFT: higher scores
are kept first. :class:`~.base.Budgeted` turns them into a mask that keeps a given share
of the clip, so no method can win by keeping everything. Every source of scores can be
combined with every size:

- :class:`~.evidence.BinGains`: what the decision gains by each bin; nothing is trained.
- :class:`~.activation.GradientTimesActivation`: evidence inside the network.
- :class:`~.masks.OfInterpreter`: the mask of any other method.
- :class:`~.network.NetworkScores`: one forward pass of a trained network.
- :class:`~.controls.Loudness` and :class:`~.controls.RandomFields`: controls.
"""

from lmac_td.interpreters.budgeted.activation import GradientTimesActivation
from lmac_td.interpreters.budgeted.base import Budgeted, BudgetedExplanation
from lmac_td.interpreters.budgeted.controls import Loudness, RandomFields
from lmac_td.interpreters.budgeted.evidence import BinGains
from lmac_td.interpreters.budgeted.masks import OfInterpreter, cut_to_size
from lmac_td.interpreters.budgeted.network import NetworkScores
from lmac_td.interpreters.budgeted.scores import KERNELS, Relevance, Scores
from lmac_td.interpreters.budgeted.threshold import share_kept, soft_threshold

__all__ = [
    "KERNELS",
    "BinGains",
    "Budgeted",
    "BudgetedExplanation",
    "GradientTimesActivation",
    "Loudness",
    "NetworkScores",
    "OfInterpreter",
    "RandomFields",
    "Relevance",
    "Scores",
    "cut_to_size",
    "share_kept",
    "soft_threshold",
]
