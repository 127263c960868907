"""The speech relevance score: eq. 5 and 6, counted bin by bin."""

import numpy as np
import pytest
import torch

from lmac_td.enhancement.masks import ideal_binary_mask
from lmac_td.enhancement.relevance import (
    most_relevant,
    speech_frames,
    speech_relevance,
)


def counted(maps, speech, noise, percentile):
    """η and the counts of each bin, as eq. 5 and 6 are written."""
    above_and_speech = above = 0
    counts = np.zeros(speech.shape, dtype=int)
    for phi in maps:
        threshold = np.percentile(abs(phi), percentile)
        for n in range(phi.shape[0]):
            for f in range(phi.shape[1]):
                if abs(phi[n, f]) > threshold:
                    above += 1
                    counts[n, f] += 1
                    above_and_speech += abs(speech[n, f]) > abs(noise[n, f])
    return above_and_speech / above, counts


@pytest.mark.parametrize("percentile", [99, 90, 50])
def test_score_is_equation_5(percentile):
    maps = torch.randn(4, 6, 11)
    speech, noise = torch.rand(2, 6, 11)
    expected, counts = counted(
        *(part.double().numpy() for part in (maps, speech, noise)), percentile
    )
    (eta,) = speech_relevance(maps, speech, noise, [percentile])
    assert eta == pytest.approx(expected)
    found = most_relevant(maps, percentile)
    np.testing.assert_array_equal(found, counts)
    hits = (found * ideal_binary_mask(speech, noise)).sum() / found.sum()
    assert eta == pytest.approx(float(hits))


def test_a_map_of_the_speech_scores_1():
    speech, noise = torch.rand(2, 6, 11)
    maps = ideal_binary_mask(speech, noise).float() * torch.rand(3, 6, 11)
    assert speech_relevance(maps, speech, noise, [90]) == [1.0]
    assert speech_relevance(-maps, speech, noise, [90]) == [1.0]  # of either sign
    assert speech_relevance(maps, noise, speech, [90]) == [0.0]


def test_frames_within_30_db_contain_speech():
    speech = torch.zeros(4, 3)
    speech[1], speech[2], speech[3] = 1, 10 ** (-29 / 20), 10 ** (-31 / 20)
    assert speech_frames(speech) == [1, 2]
