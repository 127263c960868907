"""The table for people, in Markdown."""

import csv
import json
import math

import pandas as pd

from lmac_td.evaluation.columns import all_columns
from lmac_td.evaluation.rendering import table_to_markdown, undefined_note
from lmac_td.evaluation.summary import write_csv, write_json
from lmac_td.evaluation.table import FaithfulnessTable
from tests.score_batches import (
    N_RESAMPLES,
    TAGS,
    answers,
    answers_by_amplitude,
    batch,
    filled,
    of_second_classifier,
    sources,
    tagged,
    tags_of,
)


def test_markdown_reads_in_a_terminal():
    text = table_to_markdown(filled())
    sections = text.split("### ")
    assert [s.splitlines()[0] for s in sections[1:]] == ["in-domain", "mixtures, 5 dB"]
    assert all(s.count("**Faithfulness**") == 1 for s in sections[1:])
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("|")]
    assert len(blocks) == 4
    for lines in blocks:
        pipes = [[i for i, c in enumerate(line) if c == "|"] for line in lines]
        assert all(p == pipes[0] for p in pipes)
        assert set(lines[1]) <= set("|-: ")
    means, intervals = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block]
        for block in blocks[:2]
    )
    assert means[0] == [
        "method",
        "AI (%) ↑",
        "AD (%) ↓",
        "AG (%) ↑",
        "FF ↑",
        "FF median ↑",
        "Fid-In ↑",
        "SPS ↑",
        "COMP ↓",
        "AD (published) ↓",
        "completeness (dB) ↑",
        "kept (dB)",
        "clips",
        "zero maps",
    ]
    named = dict(zip(means[0], means[2 + 1], strict=True))
    assert named["method"] == "zeros"
    assert named["kept (dB)"] == "-100.0"
    assert (named["SPS ↑"], named["COMP ↓"]) == ("–", "–")
    assert (named["clips"], named["zero maps"]) == ("8", "8")
    spans = dict(zip(intervals[0], intervals[3], strict=True))
    assert spans["kept (dB)"] == "[-100.0, -100.0]"
    assert spans["SPS ↑"] == "–"
    assert spans["completeness (dB) ↑"] == "[120.0, 120.0]"
    low, high = spans["AD (%) ↓"].strip("[]").split(", ")
    assert float(low) <= float(named["AD (%) ↓"]) <= float(high)
    assert "95 % intervals" in text


def test_a_group_has_a_table_of_its_own():
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    more = sources() | answers() | answers_by_amplitude() | of_second_classifier()
    table.add(condition="c", method="m", **batch(), **more)
    table.add(condition="c", method="spectrum only", **batch(), **sources())
    text = table_to_markdown(table)
    groups = dict(part.split("**\n") for part in text.split("\n**")[1:])
    names = ["Faithfulness", "Ground truth", "Equal size", "Second classifier"]
    assert list(groups) == names
    for name, group in groups.items():
        means, intervals = (b for b in group.strip().split("\n\n") if b[0] == "|")
        head = [cell.strip() for cell in means.splitlines()[0].strip("|").split("|")]
        assert len(head) <= 15
        assert ("clips" in head) == (name == "Faithfulness")
        wanted = [
            column.header
            for column in all_columns()
            if column.metric.group == name.lower() and "mask" not in column.header
            if column.name != "MM"
        ]
        assert [cell for cell in head[1:] if cell in wanted] == wanted
        assert ("spectrum only" in means) == (name in names[:2])
        assert len(intervals.splitlines()) == len(means.splitlines())
    assert "eta (99.9) ↑" in groups["Ground truth"]
    assert "p removed 60 % ↓" in groups["Equal size"]


def test_a_pipe_in_a_name_does_not_break_the_table():
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="a|b", **batch())
    assert r"| a\|b " in table_to_markdown(table)


def test_clips_and_tags_are_counted(tmp_path):
    table = tags_of()
    means, *_ = (b for b in table_to_markdown(table).split("\n\n") if b.startswith("|"))
    head, _, line = (
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in means.splitlines()
    )
    named = dict(zip(head, line, strict=True))
    assert (named["clips"], named["tags"], named["zero maps"]) == ("5", "8", "0")
    write_json(table, tmp_path / "t.json")
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (row["n_clips"], row["n_explanations"]) == (5, 8)
    assert row["metrics"]["AD"]["n"] == 8
    write_csv(table, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["clips"] == "5"
    assert "tags" not in table_to_markdown(filled())


def test_clips_without_a_tag_are_counted_and_named(tmp_path):
    table = tags_of()
    note = (
        "No tag reaches its threshold in 3 of 8 clips, which are not scored: "
        "clip4, clip6, clip7."
    )
    assert table_to_markdown(table).count(note) == 1
    write_json(table, tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["without_target"] == {"c": ["clip4", "clip6", "clip7"]}
    table.add_without_target("c", ["clip6"])  # once more
    assert table.without_target == {"c": ["clip4", "clip6", "clip7"]}
    assert "reaches its threshold" not in table_to_markdown(filled())


def test_a_condition_in_which_no_clip_has_a_tag_is_named():
    table = tags_of()
    table.add_without_target("all noise", ["a", "b"])
    last = table_to_markdown(table).split("### ")[-1]
    assert last.startswith("all noise\n")
    assert "No tag reaches its threshold in 2 of 2 clips" in last
    assert "a, b" in last


def test_what_is_undefined_is_counted_over_explanations():
    b = tagged() | sources(len(TAGS))
    b["target_mag"] = b["target_mag"].clone()
    b["target_mag"][1] = 0  # of one tag nothing can be found
    table = FaithfulnessTable(n_resamples=N_RESAMPLES)
    table.add(condition="c", method="m", **b)
    text = table_to_markdown(table)
    assert "of 8 explanations" in text
    assert "of 8 clips" not in text


def test_undefined_clips_are_counted_but_for_zero_maps():
    def row(sps, iou):
        names = [f"clip{i}" for i in range(len(sps))]
        return pd.DataFrame({"clip_id": names, "SPS": sps, "IoU (time)": iou})

    nan = math.nan
    columns = [c for c in all_columns() if c.name in ("SPS", "IoU (time)")]
    assert undefined_note(columns, [row([0.5, 0.5], [1.0, 1.0])]) == ""
    assert undefined_note(columns, [row([0.5, nan], [1.0, nan])]) == ""
    some = row([0.5, 0.5, 0.5], [1.0, nan, nan])
    line = "Undefined for the others: IoU (time) over 1 of 3 clips.\n"
    assert undefined_note(columns, [some]) == line
    more = row([0.5, 0.5, 0.5], [1.0, 1.0, nan])
    assert "over 1 to 2 of 3 clips" in undefined_note(columns, [some, more])
