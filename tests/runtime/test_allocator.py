"""Freed memory is kept with glibc, and nothing changes with another C library."""

import resource
import subprocess
import sys

import pytest

from lmac_td.runtime import allocator

needs_glibc = pytest.mark.skipif(
    allocator._glibc_function("mallopt") is None, reason="another C library"
)
# Page faults of a block of 64 MB that is allocated and freed ten times.
FAULTS = """
import resource, sys
from lmac_td.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    print(keep_freed_memory())
block = b"x" * 2**26
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = b"x" * 2**26
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# Growth of the heap after 3 GiB were allocated (no page is touched) and freed.
GROWTH = """
import ctypes
from lmac_td.runtime.allocator import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
before = libc.sbrk(0)
libc.free(libc.malloc(3 * 2**30))
print(libc.sbrk(0) - before)
"""


def printed(script, *arguments, **environment):
    """Run a script in a new process and return the words that it prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout.split()


@needs_glibc
def test_freed_memory_is_used_for_the_next_block():
    taken, kept = printed(FAULTS, "keep")
    (given_back,) = printed(FAULTS, "plain")
    block = 2**26 // resource.getpagesize()
    assert taken == "True"
    assert int(kept) < block  # of ten
    assert int(given_back) > 5 * block


@needs_glibc
def test_more_than_2_gib_are_kept_too():
    (grown,) = printed(GROWTH)
    assert int(grown) >= 3 * 2**30


@needs_glibc
@pytest.mark.parametrize(
    "setting",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_settings_of_the_user_are_kept(setting):
    taken, _ = printed(FAULTS, "keep", **setting)
    assert taken == "False"


def test_an_older_glibc_does_not_map_blocks(monkeypatch):
    """It refuses a threshold above 32 MB, but accepts the other settings."""
    asked = {}

    def mallopt(setting, value):
        if setting == -3:
            return 0
        asked[setting] = value
        return 1

    monkeypatch.setattr(allocator, "_glibc_function", lambda name: mallopt)
    for name in allocator._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert allocator.keep_freed_memory()
    assert asked == {-1: -1, -2: 2**28, -4: 0}


def test_another_c_library_is_not_changed(monkeypatch):
    class Other:
        def __init__(self, name):
            pass

    monkeypatch.setattr(allocator.ctypes, "CDLL", Other)
    for name in allocator._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    assert not allocator.keep_freed_memory()
    assert not allocator.give_freed_memory_back()
