"""The metrics: these functions score every interpreter, one value per clip.

``confidence`` asks the classifier, ``conciseness`` the map, ``signal`` the sound,
``localisation`` and ``segments`` the ground truth; ``curves`` compares maps at equal
size; ``second_classifier`` shows what another classifier answers, ``fidelity`` how well
a surrogate imitates the classifier. ``registry`` lists them as the columns of the
common table. Nothing here knows of interpreters: tensors
come in, numbers go out.
"""

import importlib
import pkgutil

from lmac_td.metrics.conciseness import (
    complexity,
    complexity_bound,
    mask_mean,
    sparseness,
)
from lmac_td.metrics.confidence import (
    apply_tie_tolerance,
    average_drop,
    average_drop_published,
    average_gain,
    average_increase,
    decided_class,
    faithfulness,
    input_fidelity,
)
from lmac_td.metrics.curves import area_under, top_bins, top_bins_at
from lmac_td.metrics.fidelity import top_k_fidelity
from lmac_td.metrics.localisation import (
    active_frames,
    speech_relevance_at,
    speech_relevance_score,
    temporal_iou,
)
from lmac_td.metrics.segments import temporal_auc
from lmac_td.metrics.signal import (
    completeness_db,
    kept_energy_db,
    kept_gain,
    kept_of_source_db,
    si_sdr_db,
)

# Every file of this folder registers its metrics: a new file needs no other edit.
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

settle_ties = apply_tie_tolerance  # its name in earlier versions

__all__ = [
    "active_frames",
    "apply_tie_tolerance",
    "area_under",
    "average_drop",
    "average_drop_published",
    "average_gain",
    "average_increase",
    "completeness_db",
    "complexity",
    "complexity_bound",
    "decided_class",
    "faithfulness",
    "input_fidelity",
    "kept_energy_db",
    "kept_gain",
    "kept_of_source_db",
    "mask_mean",
    "settle_ties",
    "si_sdr_db",
    "sparseness",
    "speech_relevance_at",
    "speech_relevance_score",
    "temporal_auc",
    "temporal_iou",
    "top_bins",
    "top_bins_at",
    "top_k_fidelity",
]
