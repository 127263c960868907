"""Cells of RemOve And Retrain: kept in a file, read back, refused when they differ."""

import json

import pytest

from lmac_td.errors import DataError, SettingError
from lmac_td.sanity.cells import Cells


def test_cells_are_kept(tmp_path):
    path = tmp_path / "sanity" / "roar.json"
    cells = Cells(path, {"roar_fill": "zero", "seed": 1})
    cells.put("lmac", 0.5, 0, [True, False])
    cells.put("lmac", 0.5, 1, [True, True])
    again = Cells(path, {"seed": 1, "roar_fill": "zero"})
    assert again.has("lmac", 0.5, 1)
    assert not again.has("lmac", 0.5, 2)
    assert not again.has("random", 0.5, 1)
    assert again.frame.equals(cells.frame)
    assert again.frame.to_dict(orient="list") == {
        "ranking": ["lmac"] * 4,
        "removed": [0.5] * 4,
        "repeat": [0, 0, 1, 1],
        "clip": [0, 1, 0, 1],
        "recognised": [1, 0, 1, 1],
    }
    assert len(Cells(tmp_path / "other.json", {}).frame) == 0


def test_cells_of_before_a_setting_had_its_name_are_kept(tmp_path):
    path = tmp_path / "roar.json"
    Cells(path, {"heard": "audio"}).put("lmac", 0.5, 0, [True])
    assert Cells(path, {"classifier_input": "audio"}).has("lmac", 0.5, 0)
    with pytest.raises(SettingError, match="classifier_input 'audio'"):
        Cells(path, {"classifier_input": "spectrogram"})


def test_cells_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "roar.json"
    Cells(path, {"roar_fill": "zero"}).put("lmac", 0.5, 0, [True])
    with pytest.raises(SettingError, match="roar_fill 'zero', not 'mean'"):
        Cells(path, {"roar_fill": "mean"})
    with pytest.raises(SettingError, match="roar_fill 'zero', not None"):
        Cells(path, {})


def test_settings_that_do_not_matter_or_are_new_are_not_compared(tmp_path):
    path = tmp_path / "roar.json"
    Cells(path, {"num_workers": 2, "seed": 1}).put("lmac", 0.5, 0, [True])
    again = Cells(path, {"seed": 1, "alpha": 0.5}, not_compared={"num_workers"})
    assert again.has("lmac", 0.5, 0)


def cell(**changed):
    return {"ranking": "lmac", "level": 0.5, "repeat": 0, "hits": [0, 1]} | changed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "holds no finished cells"),
        ("[]", "it holds a list"),
        ({"cells": []}, "has no settings"),
        ({"settings": [], "cells": []}, "has no settings"),
        ({"settings": {}}, "no list of cells"),
        ({"settings": {}, "cells": {}}, "no list of cells"),
        ({"settings": {}, "cells": [3]}, "not a mapping"),
        ({"settings": {}, "cells": [{}]}, "the ranking None"),
        ({"settings": {}, "cells": [cell(level="0.5")]}, "the level '0.5'"),
        ({"settings": {}, "cells": [cell(level=1.5)]}, "the level 1.5"),
        ({"settings": {}, "cells": [cell(repeat=0.5)]}, "the repeat 0.5"),
        ({"settings": {}, "cells": [cell(hits=[])]}, "not a list of 0 and 1"),
        ({"settings": {}, "cells": [cell(hits=[0, 2])]}, "not a list of 0 and 1"),
        ({"settings": {}, "cells": [cell(hits="01")]}, "not a list of 0 and 1"),
        ({"settings": {}, "cells": [cell(), cell()]}, "twice"),
        (
            {"settings": {}, "cells": [cell(), cell(repeat=1, hits=[0])]},
            "differ in the number of clips",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, content, words):
    path = tmp_path / "roar.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=words) as error:
        Cells(path, {})
    assert str(path) in str(error.value)
    assert "delete it" in str(error.value)


def test_cells_of_another_number_of_clips_are_refused(tmp_path):
    path = tmp_path / "roar.json"
    cells = Cells(path, {})
    cells.put("lmac", 0.5, 0, [True, False])
    kept = path.read_bytes()
    with pytest.raises(DataError, match="2 test clips, and there are 3 now"):
        cells.put("lmac", 0.5, 1, [True, False, True])
    assert path.read_bytes() == kept
