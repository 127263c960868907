"""Objectives: the losses that interpreters are trained with.

An objective is called with an :class:`~lmac_td.contracts.ExplainedBatch` and the clean
clips of its mixtures, and returns :class:`Terms`. ``base`` holds this contract,
``masking`` the loss of LMAC-TD and L-MAC, ``guided`` L-MAC's loss for fine-tuning,
``l2i`` the loss of L2I, ``flint`` and ``vibi`` those of its baselines, ``budgeted`` the
loss of the budgeted network.
"""

from lmac_td.training.objectives.base import Objective, Terms
from lmac_td.training.objectives.budgeted import BudgetedLoss
from lmac_td.training.objectives.flint import FLINTLoss
from lmac_td.training.objectives.guided import GuidedMaskingLoss
from lmac_td.training.objectives.l2i import L2ILoss, fidelity_loss
from lmac_td.training.objectives.masking import (
    MaskingLoss,
    target_loss,
    total_variation,
)
from lmac_td.training.objectives.vibi import VIBILoss

__all__ = [
    "BudgetedLoss",
    "FLINTLoss",
    "GuidedMaskingLoss",
    "L2ILoss",
    "MaskingLoss",
    "Objective",
    "Terms",
    "VIBILoss",
    "fidelity_loss",
    "target_loss",
    "total_variation",
]
