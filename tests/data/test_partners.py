"""Partners of mixtures: the same as a search finds, at a cost that does not grow."""

import json
import random
import statistics
import tracemalloc

import pytest
import torch

from lmac_td.data import partners
from lmac_td.data.conditions.mixtures import OtherClasses
from lmac_td.data.partners import Candidates
from lmac_td.random import seeded_generator

# Names of tags, and how many a clip has at most.
KINDS = {
    "tags": ("abcdefgh", 3),
    "many tags": ("abcdefghijklmnop", 7),
    "dozens of tags": (range(60), 20),
}


def clips_of(n, kind, seed=0):
    """Classes of n random clips: one label each, or several tags or none."""
    draws = random.Random(seed)
    if kind == "labels":
        return [{draws.randrange(10)} for _ in range(n)]
    names, most = KINDS[kind]
    return [
        set(draws.sample(names, draws.randrange(most + 1))) or {"none"}
        for _ in range(n)
    ]


@pytest.mark.parametrize("kind", ["labels", *KINDS])
@pytest.mark.parametrize("n", [1, 30, 32, 39, 400])
def test_candidates_equal_their_literal_twin(n, kind, monkeypatch):
    """Blocks are small here, so that every place beside their ends is drawn."""
    monkeypatch.setattr(partners, "BLOCK", 16)
    clips = clips_of(n, kind)
    found = Candidates(clips)
    for classes in map(frozenset, clips[:20]):
        expected = [i for i, own in enumerate(clips) if not own & classes]
        assert found.count(classes) == len(expected)
        assert [found.place(classes, k) for k in range(len(expected))] == expected


def partner_by_search(clips, clip_id, generator):
    """As earlier versions drew: step over the places of sharing clips, in order."""
    ids = [other for other in sorted(clips) if clips[other][0] == clips[clip_id][0]]
    sharing = [i for i, o in enumerate(ids) if clips[o][1] & clips[clip_id][1]]
    position = int(torch.randint(len(ids) - len(sharing), (1,), generator=generator))
    for place in sharing:
        if place > position:
            break
        position += 1
    return ids[position]


@pytest.mark.parametrize("kind", ["labels", "tags", "many tags"])
@pytest.mark.parametrize("seed", range(3))
def test_partners_are_those_of_earlier_versions(tmp_path, kind, seed):
    draws = random.Random(seed)
    clips, manifest = {}, {}
    for i, classes in enumerate(clips_of(400, kind, seed)):
        clip_id, fold = f"{draws.randrange(10**6)} {i}", 1 + i % 2
        clips[clip_id] = fold, classes
        manifest[clip_id] = {"wav": "", "fold": fold, "class_index": i % 3}
        if kind == "labels":
            manifest[clip_id]["class_index"] = min(classes)
        else:
            manifest[clip_id]["labels"] = sorted(classes - {"none"})
    path = tmp_path / "test.json"
    path.write_text(json.dumps(manifest))
    others = OtherClasses(path)
    for clip_id in draws.sample(sorted(clips), 100):
        ours, theirs = (seeded_generator(clip_id, "mixtures", seed) for _ in range(2))
        assert others.partner(clip_id, ours) == partner_by_search(
            clips, clip_id, theirs
        )


@pytest.mark.parametrize("kind", ["labels", "tags"])
def test_a_draw_costs_the_same_among_ten_times_as_many_clips(kind, monkeypatch):
    """Counted by what a draw allocates: an array of the places that it looks at."""
    monkeypatch.setattr(partners, "BLOCK", 2048)
    costs = []
    for n in (2 * 2048, 20 * 2048):
        clips = clips_of(n, kind)
        candidates, classes = Candidates(clips), frozenset(clips[0])
        last = candidates.count(classes) - 1
        allocated = []
        tracemalloc.start()
        try:
            for k in range(0, last, last // 50):
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                candidates.place(classes, k)
                allocated.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
        costs.append(statistics.median(allocated))
    assert costs[1] < 1.2 * costs[0]


def test_sets_of_up_to_four_classes_take_no_pass_over_the_clips(monkeypatch):
    """So the cost of all draws is linear, also where each clip has tags of its own."""
    clips = [{i, i + 1, (7 * i) % 97, 1000} for i in range(250)]
    looked_at = []
    are_free = Candidates._are_free

    def counted(self, classes, first, end):
        looked_at.append(min(end, self.n_places) - first)
        return are_free(self, classes, first, end)

    monkeypatch.setattr(partners, "BLOCK", 16)
    monkeypatch.setattr(Candidates, "_are_free", counted)
    candidates = Candidates(clips + [{i} for i in range(250)])
    for own in map(frozenset, clips):
        candidates.place(own, candidates.count(own) - 1)
    assert len(looked_at) == 250  # a block for each draw
    assert max(looked_at) <= 16
