"""lmac-td: hear why an audio classifier decided.

A clip goes in, the classifier decides, an interpreter keeps the part of the sound
that made it decide, and the same yardstick measures every interpreter.

``from lmac_td import LMACTD`` and the other names of ``__all__``, which
``__init__.pyi`` lists, import their modules when they are used.
"""

import logging

import lazy_loader

from lmac_td.versions import package_version, warn_of_mismatch

# SpeechBrain says at import that TensorBoard figures need torchvision. We make none.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision" not in record.getMessage()
)
warn_of_mismatch()

__version__ = package_version("lmac-td") or "unknown"  # a checkout, not installed
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
