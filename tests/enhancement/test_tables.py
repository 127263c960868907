"""Tables 2 and 3, from scores of single mixtures."""

import pandas as pd
import pytest

from lmac_td.enhancement.tables import (
    generalisation_table,
    relative_drop,
    relevance_table,
    to_markdown,
)


def scores(**columns):
    rows = [
        {
            "model": model,
            "noise": noise,
            "utterance": utterance,
            "eta (99.9)": eta + 2 * place,
            "IBM (%)": 30.0,
            "SI-SDRi (dB)": 5.0,
            "words": 4,
            "errors (mixture)": 2,
            "errors (enhanced)": place,
        }
        for model, noise, eta in (
            ("real", "real", 80.5),
            ("network", "real", 67.3),
            ("network", "network", 80.7),
        )
        for place, utterance in enumerate("ab")
    ]
    return pd.DataFrame(rows)


def test_table_2_has_a_row_for_each_model():
    table = relevance_table(scores(), "real", [99.9])
    assert list(table.model) == ["real", "network"]
    assert table["η (%), T = 99.9"][1] == "68.3 [67.3, 69.3]"
    assert table["WER (%) (mixture)"][0] == "50.0"
    assert table["WER (%) (enhanced)"][0] == "12.5"


def test_table_3_is_the_papers_arithmetic():
    """The paper: 81.7 and 68.3 give a change of 16.4 %."""
    table = generalisation_table(scores(), "real", 99.9)
    assert list(table) == ["setup", "network, η (%)"]
    train, test, change = table["network, η (%)"]
    assert train.startswith("81.7 ")
    assert test.startswith("68.3 ")
    assert change.startswith("16.4 [")


def test_the_change_is_drawn_by_utterance():
    data = scores()
    train, test = (
        data[(data.model == "network") & (data.noise == n)] for n in ("network", "real")
    )
    value, low, high = relative_drop(train, test, "eta (99.9)")
    # Either utterance alone, twice: the ends of all draws.
    assert low == pytest.approx(100 * (82.7 - 69.3) / 82.7)
    assert high == pytest.approx(100 * (80.7 - 67.3) / 80.7)
    assert low < value < high


def test_markdown():
    lines = to_markdown(relevance_table(scores(), "real", [99.9])).splitlines()
    assert len(lines) == 4
    assert lines[1].count("---") == lines[0].count("|") - 1
