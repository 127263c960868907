"""lmac-td: hear why an audio classifier decided.

A clip goes in, the classifier decides, an interpreter keeps the part of the sound
that made it decide, and the same yardstick measures every interpreter.
"""

import logging

# SpeechBrain says at import that TensorBoard figures need torchvision. We make none.
logging.getLogger("speechbrain.utils.train_logger").addFilter(
    lambda record: "torchvision" not in record.getMessage()
)
