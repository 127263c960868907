"""Keep freed memory, where the C library would give it back at once.

glibc maps every large block anew and unmaps it when it is freed. A training step frees
gigabytes that the next one asks for again, and each of their pages is then zeroed and
faulted in once more: a good part of a step on a CPU.
"""

import ctypes
import os

# Of malloc.h: parameters of mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_NO_LIMIT = -1  # which glibc reads as its largest number of bytes
_SETTINGS = {
    _M_MMAP_THRESHOLD: _NO_LIMIT,  # map no block by itself
    _M_TRIM_THRESHOLD: _NO_LIMIT,  # give nothing back
    _M_TOP_PAD: 2**28,  # bytes asked of the kernel at a time, at least
}
# What a user sets in one of these stands.
_ENVIRONMENT = (
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)  # fmt: skip


def keep_freed_memory():
    """Tell glibc's allocator to keep what this process frees, until it ends.

    Nothing changes where another C library is at work, or where the user has set the
    allocator up in the environment (``MALLOC_TRIM_THRESHOLD_`` and the like).

    Returns
    -------
    bool
        Whether the settings were taken.
    """
    if any(name in os.environ for name in _ENVIRONMENT):
        return False
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    taken = {
        setting: mallopt(setting, value) == 1 for setting, value in _SETTINGS.items()
    }
    if not taken[_M_MMAP_THRESHOLD]:  # before glibc 2.35 it ends at 32 MB: map nothing
        taken[_M_MMAP_THRESHOLD] = mallopt(_M_MMAP_MAX, 0) == 1
    return all(taken.values())


def give_freed_memory_back():
    """Return all freed memory to the kernel, once.

    Returns
    -------
    bool
        Whether there was any, and glibc to do so.
    """
    malloc_trim = _of_glibc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _of_glibc(function):
    """A function of this process's glibc; None with another C library."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no "this process"
        return None
    is_glibc = hasattr(libc, "gnu_get_libc_version")
    return getattr(libc, function) if is_glibc else None
