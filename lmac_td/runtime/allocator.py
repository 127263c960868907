"""Make glibc's allocator keep freed memory, which makes training on a CPU faster.

By default glibc maps each large block separately and unmaps it when it is freed. A
training step frees gigabytes that the next step allocates again; the kernel then has to
zero and map each page again, which takes a good part of a step.
"""

import ctypes
import os
from collections.abc import Callable

# Parameters of mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_NO_LIMIT = -1  # glibc converts it to the largest unsigned number of bytes
_SETTINGS = {
    _M_MMAP_THRESHOLD: _NO_LIMIT,  # map no block separately
    _M_TRIM_THRESHOLD: _NO_LIMIT,  # return nothing to the kernel
    _M_TOP_PAD: 2**28,  # least number of bytes per request to the kernel
}
# If the user has set one of these, nothing is changed.
_ENVIRONMENT = (
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)  # fmt: skip


def keep_freed_memory() -> bool:
    """Make glibc keep the memory that this process frees, until the process ends.

    Nothing changes with another C library, or if the user has configured the allocator
    by environment variables (such as ``MALLOC_TRIM_THRESHOLD_``).

    Returns
    -------
    bool
        Whether glibc accepted the settings.
    """
    if any(name in os.environ for name in _ENVIRONMENT):
        return False
    mallopt = _glibc_function("mallopt")
    if mallopt is None:
        return False
    accepted = {
        setting: mallopt(setting, value) == 1 for setting, value in _SETTINGS.items()
    }
    if not accepted[_M_MMAP_THRESHOLD]:  # at most 32 MB before glibc 2.35
        accepted[_M_MMAP_THRESHOLD] = mallopt(_M_MMAP_MAX, 0) == 1
    return all(accepted.values())


def give_freed_memory_back() -> bool:
    """Return all freed memory to the kernel, once.

    Returns
    -------
    bool
        Whether memory was returned; False with another C library.
    """
    malloc_trim = _glibc_function("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _glibc_function(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; None with another C library."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # on Windows
        return None
    is_glibc = hasattr(libc, "gnu_get_libc_version")
    return getattr(libc, name) if is_glibc else None
