"""Which batches a shard scores, and how scores of parts are joined."""

import numpy as np
import pandas as pd
import pytest

from lmac_td.errors import SettingError
from lmac_td.evaluation import row_store, shards
from lmac_td.evaluation.frame import ScoreFrame
from lmac_td.evaluation.shards import Shard, batches_of, join_frames, save_frame


@pytest.mark.parametrize("of", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_shards_together_have_each_batch_of_one_process_once(of, batch_size):
    sizes = {"speech": 30, "clean": 30, "mixtures": 11}
    whole = batches_of(sizes, batch_size, Shard(0, 1))
    for condition, n_clips in sizes.items():
        places = [place for batch in whole[condition] for place in batch]
        assert places == list(range(n_clips))
        parts = [batches_of(sizes, batch_size, Shard(i, of)) for i in range(of)]
        found = sorted(batch for part in parts for batch in part[condition])
        assert found == whole[condition]
    counts = [sum(map(len, part.values())) for part in parts]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("text", ["3/3", "0/0", "1", "-1/3", "a/b", "1/2/3", "1.0/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(SettingError, match="--shard is"):
        Shard.read(text)


def lines_of(clips):
    """A line for each of several tags of each clip."""
    names = [clip for i, clip in enumerate(clips) for _ in range(i % 3)]
    draws = np.random.default_rng(0).random(len(names))
    numbers = pd.Series(names).groupby(names).cumcount()
    return pd.DataFrame({"clip_id": names, "decided": numbers, "x": draws})


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_joined_parts_are_in_the_order_of_one_process(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(shards, "CLIPS_AT_ONCE", at_once)
    monkeypatch.setattr(row_store, "LINES_IN_MEMORY", 10)
    clips = [f"clip{i}" for i in np.random.default_rng(1).permutation(60)]
    whole = lines_of(clips)
    folders = [tmp_path / str(i) for i in range(4)]
    for i, folder in enumerate(folders[:3]):  # the last has no line
        own = {c for b in batches_of({"c": 60}, 4, Shard(i, 3))["c"] for c in b}
        own = {clips[place] for place in own}
        part = ScoreFrame()
        part.put("c", "m", whole[whole["clip_id"].isin(own)].reset_index(drop=True))
        save_frame(part, folder)
    for folder in (None, tmp_path / "joined"):
        joined = ScoreFrame(folder)
        join_frames(joined, folders, {"c": clips})
        found = joined.row("c", "m")
        assert found["clip_id"].tolist() == whole["clip_id"].tolist()
        assert found["x"].tolist() == whole["x"].tolist()
    with pytest.raises(ValueError, match="is scored twice"):
        join_frames(ScoreFrame(), [*folders, folders[0]], {"c": clips})
