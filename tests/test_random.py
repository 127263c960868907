"""Seeded draws are pure functions of clip, purpose and seed."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch

from lmac_td.random import seeded_generator


def literal_seed(clip_id, purpose, seed):
    text = json.dumps([clip_id, purpose, seed])
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)


@pytest.mark.parametrize("seed", [0, 1234, (7, 2)])
def test_the_seed_is_the_digest_of_clip_purpose_and_seed(seed):
    ours = torch.rand(5, generator=seeded_generator("1-100032-A-0", "in_domain", seed))
    twin = torch.Generator().manual_seed(
        literal_seed("1-100032-A-0", "in_domain", seed)
    )
    assert torch.equal(ours, torch.rand(5, generator=twin))


def test_another_clip_purpose_or_seed_gives_another_draw():
    keys = [
        ("a", "x", 0),
        ("b", "x", 0),
        ("a", "y", 0),
        ("a", "x", 1),
        ("a", "x", (0, 1)),
    ]
    draws = {float(torch.rand(1, generator=seeded_generator(*key))) for key in keys}
    assert len(draws) == len(keys)


@pytest.mark.slow
def test_another_process_draws_the_same():
    code = (
        "import torch; from lmac_td.random import seeded_generator; "
        "print(torch.rand(1, generator=seeded_generator('dog', 'clean', 3)).item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    ours = torch.rand(1, generator=seeded_generator("dog", "clean", 3)).item()
    assert float(done.stdout) == ours
