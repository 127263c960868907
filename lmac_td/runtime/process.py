"""Set up a process: what every command does first."""

import torch

from lmac_td.runtime.allocator import keep_freed_memory


def set_up_process() -> None:
    """Keep freed memory, and compute float32 in full precision on GPUs."""
    keep_freed_memory()
    # TF32 has three digits; metrics separate ties of probabilities from the sixth on.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
