"""Read weights without executing what is in their files; refuse broken ones."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch

# Variables of torch: the first lets files execute code, the second never does.
_ALLOW, _FORCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextlib.contextmanager
def weights_only() -> Iterator[None]:
    """Let ``torch.load`` read tensors and plain values only, whoever calls it.

    Example
    -------
    >>> with weights_only():
    ...     os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
    '1'
    """
    before = {name: os.environ.pop(name, None) for name in (_ALLOW, _FORCE)}
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[_FORCE]
        os.environ.update({k: v for k, v in before.items() if v is not None})


def first_not_finite(state: Mapping[str, object]) -> str | None:
    """Return the first key of a state dict whose tensor is not finite, or None.

    Example
    -------
    >>> first_not_finite({"bias": torch.zeros(2), "weight": torch.tensor(torch.nan)})
    'weight'
    """
    for key, value in state.items():
        is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
        if is_real and value.element_size() == 1:
            value = value.float()  # torch compares no 8-bit floats
        if is_real and not value.isfinite().all():
            return key
    return None
