"""Several evaluations in one table: rows, means over seeds, and files that are none."""

import json
import math
import re
import shutil
import statistics
from pathlib import Path

import pytest

from lmac_td.cli.compare import main
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.bootstrap import summarise
from lmac_td.evaluation.summary import write_json
from lmac_td.evaluation.table import ALWAYS_WRITTEN, FaithfulnessTable
from lmac_td.report.runs import find_row, read_run, read_runs
from lmac_td.report.same_mixtures import BEFORE, MIXTURE_SETTINGS
from lmac_td.report.side_by_side import choose_columns, runs_to_markdown

# Settings of a recipe before data sets, targets and weights were named.
RECIPE = [n for n in BEFORE if "content" not in n and n not in ("dataset", "target")]
CLIPS = ["a", "b", "c", "d"]


def write_run(
    folder,
    method="lmac",
    seed=1,
    value=40.0,
    rows=(),
    conditions=("clean",),
    clips=CLIPS,
    **settings,
):
    """An evaluation of one method: every metric is ``value``, give or take one."""
    table = FaithfulnessTable(
        {
            "methods": [method],
            "seed": seed,
            "remarks": {},
            "snr_db": {"in_domain": 0},
            "test_fold_nums": [4],
            "mixing_seed": 1,
            "recipe": dict.fromkeys(RECIPE, "the same"),
        }
        | settings
    )
    for name, mean in ((method, value), *rows, ("identity", 0.0)):
        values = {key: [mean - 1, mean + 1, mean, mean] for key in ALWAYS_WRITTEN}
        values["kept (dB)"] = [math.nan] * 4 if name == "identity" else [mean] * 4
        decided = {"clip_id": CLIPS, "decided": [0] * 4, "p_x": [0.5, 0.6, 0.7, 0.8]}
        for condition in conditions:
            scores = {k: v[: len(clips)] for k, v in (values | decided).items()}
            table.append(condition, name, scores)
    write_json(table, folder / "table.json")
    table.clips_to_csv(folder / "clips.csv")
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path / str(seed), seed=seed, value=40.0 + seed)
        for seed in (1, 2, 3)
    ]


def change(run, *where, value):
    path = Path(run) / "table.json"
    content = json.loads(path.read_text())
    part = content["settings"]
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    path.write_text(json.dumps(content))


def test_one_row_a_run_and_their_mean(runs, capsys):
    main(runs)
    said = capsys.readouterr().out
    for seed in (1, 2, 3):
        assert f"| lmac, seed {seed} " in said
        value = 40.0 + seed
        _, low, high = summarise([value - 1, value + 1, value, value])
        assert f" {value:.2f} [{low:.2f}, {high:.2f}] " in said
    mean = [line for line in said.splitlines() if "mean ± sd of 3 seeds" in line]
    assert f" 42.00 ± {statistics.stdev([41, 42, 43]):.2f} " in mean[0]
    assert said.count("| identity ") == 1
    identity = next(line for line in said.splitlines() if line.startswith("| identity"))
    assert identity.rstrip("| ").endswith("–")


def test_a_table_file_or_its_folder(runs):
    assert read_run(runs[0]).table.rows.keys() == {
        ("clean", "lmac"),
        ("clean", "identity"),
    }
    assert read_run(f"{runs[0]}/table.json").settings == read_run(runs[0]).settings


def test_what_is_no_evaluation_is_named(runs, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match=r"other\.json"):
        read_runs([*runs, tmp_path / "other.json"])
    (Path(runs[1]) / "clips.csv").unlink()
    with pytest.raises(DataError, match=r"clips\.csv"):
        read_runs(runs)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["test_fold_nums"], [5]),
        (["snr_db"], {"in_domain": 3}),
        (["recipe", "pretrained_classifier"], "another"),
        (["recipe", "content of pretrained_classifier"], "trained anew"),
        (["recipe", "ljspeech_folder"], "another"),
        (["recipe", "dataset"], "a.CsvManifest(b.csv)"),
        (["recipe", "target"], "dog"),
    ],
)
def test_other_mixtures_or_decisions_are_not_compared(runs, where, value):
    change(runs[1], *where, value=value)
    with pytest.raises(
        DataError, match=r"2.table\.json was not made from the mixtures"
    ):
        read_runs(runs)


def test_evaluations_of_some_conditions_stand_beside_those_of_all(tmp_path, capsys):
    both = ["clean", "speech"]
    snr_db = {"snr_db": {"in_domain": 0, "speech": 3}}
    every = write_run(tmp_path / "all", conditions=both, **snr_db)
    clean = write_run(tmp_path / "clean", "saliency", value=30.0)
    table = read_runs([every, clean]).table
    assert list(table.methods("clean")) == ["lmac", "saliency", "identity"]
    assert list(table.methods("speech")) == ["lmac", "identity"]
    main([every, clean])
    assert "### speech" in capsys.readouterr().out


def test_evaluations_without_a_common_condition_are_refused(tmp_path):
    clean = write_run(tmp_path / "clean")
    speech = write_run(tmp_path / "speech", "saliency", conditions=["speech"])
    with pytest.raises(DataError, match="they differ in the conditions"):
        read_runs([clean, speech])


def test_evaluations_of_other_clips_are_refused(tmp_path):
    whole = write_run(tmp_path / "whole")
    part = write_run(tmp_path / "part", "saliency", clips=CLIPS[:3])
    with pytest.raises(DataError, match="they differ in the number of clips"):
        read_runs([whole, part])


def test_tables_from_before_other_data_sets_and_targets_are_compared(runs):
    identity = ESC50("the same").identity
    change(runs[1], "recipe", "dataset", value=identity)
    change(runs[1], "recipe", "target", value="auto")
    assert len(read_runs(runs).table.rows) == 4


def test_a_row_that_stands_twice_and_differs_is_refused(runs):
    change(runs[1], "seed", value=1)
    with pytest.raises(DataError, match=r"lmac, seed 1.*is in both"):
        read_runs(runs)


def test_a_row_that_stands_twice_and_is_the_same_counts_once(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "copy")
    assert len(read_runs([runs[0], tmp_path / "copy"]).table.rows) == 2


def test_methods_stand_before_what_explains_nothing(runs, tmp_path):
    runs.append(write_run(tmp_path / "more", "another"))
    methods = [method for _, method in read_runs(runs).table.rows]
    assert methods[-2:] == ["another", "identity"]


def test_rows_as_audio_stand_with_their_method_and_remarks_below(tmp_path, capsys):
    audio = [("lmac, as audio", 7.0)]
    write_run(tmp_path / "1", rows=audio, remarks={"lmac": "it has no sound"})
    write_run(tmp_path / "2", rows=audio, seed=2)
    main([str(tmp_path / "1"), str(tmp_path / "2")])
    said = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in said.splitlines() if "|" in line]
    assert rows.index("lmac, as audio, seed 2") < rows.index("identity")
    assert "lmac, as audio, mean ± sd of 2 seeds" in rows
    assert "lmac: it has no sound" in said


def test_a_sentence_names_the_methods_that_ask_the_classifier(tmp_path, capsys):
    write_run(tmp_path / "1", asks_classifier=["lmac"])
    write_run(tmp_path / "2", "another", controls=["loudness"])
    main([str(tmp_path / "1"), str(tmp_path / "2")])
    (line,) = [li for li in capsys.readouterr().out.splitlines() if "raises AI" in li]
    assert line.startswith("lmac: it runs the classifier again to choose what is kept")
    assert line.endswith("compare it with the controls: loudness.")
    main([str(tmp_path / "2")])
    assert "raises AI" not in capsys.readouterr().out


def test_evaluations_with_different_second_classifiers_are_refused(tmp_path):
    runs = [
        write_run(tmp_path / name, seed=seed, second_classifier=judge)
        for seed, (name, judge) in enumerate(
            {"a": {"x": "1f"}, "b": {"elsewhere/x": "1f"}, "c": {"x": "2e"}}.items()
        )
    ]
    without = write_run(tmp_path / "d", seed=4)
    assert len(read_runs([*runs[:2], without]).table.rows) == 4
    with pytest.raises(DataError, match="they differ in second_classifier"):
        read_runs(runs)


def test_an_evaluation_of_several_methods(runs, tmp_path):
    several = write_run(tmp_path / "b", "saliency", rows=[("gradcam", 3.0)])
    change(several, "methods", value=["saliency", "gradcam"])
    methods = [method for _, method in read_runs([several, *runs]).table.rows]
    assert methods[:2] == ["saliency", "gradcam"]
    assert methods.count("identity") == 1


def test_two_rows_clip_by_clip(runs, capsys):
    main([*runs, "--compare", "lmac, seed 3", "lmac, seed 1"])
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("| AI"))
    # The same clips differ by 2 each: clip by clip there is no doubt.
    assert "+2.00" in line
    assert "[+2.00, +2.00]" in line
    with pytest.raises(SettingError, match="lmac, seed 9"):
        main([*runs, "--compare", "lmac, seed 9", "lmac, seed 1"])


def test_a_row_on_disk_is_found(runs, tmp_path):
    settings = read_run(runs[0]).settings | {"conditions": ["clean", "speech"]}
    assert find_row("lmac", ["lmac"]) == ("lmac", {})
    other = write_run(tmp_path / "b", "lmac_td", rows=[("lmac_td, as audio", 3.0)])
    name, scores = find_row(other, ["lmac"], settings)
    assert (name, list(scores)) == ("lmac_td", ["clean"])
    name, scores = find_row(f"{other}:lmac_td, as audio", ["lmac"], settings)
    assert name == "lmac_td, as audio"
    assert scores["clean"]["AI"].mean() == 3
    name, _ = find_row(runs[1], ["lmac"], settings)
    assert name == f"lmac ({runs[1]})"


def test_a_row_that_cannot_be_compared_is_refused(runs, tmp_path):
    settings = read_run(runs[0]).settings
    with pytest.raises(SettingError, match="no row of this table"):
        find_row("lmacc", ["lmac"])
    with pytest.raises(SettingError, match="has no row 'another', but lmac, identity"):
        find_row(f"{runs[0]}:another", ["lmac"])
    with pytest.raises(DataError, match=r"is not a table\.json"):
        find_row(str(tmp_path), ["lmac"])
    for ours in (
        settings | {"conditions": ["speech"]},
        settings | {"conditions": ["clean"], "mixing_seed": 2},
        settings | {"conditions": ["clean"], "snr_db": {"clean": 1}},
    ):
        with pytest.raises(SettingError, match="was not made from the mixtures"):
            find_row(runs[0], ["other"], ours)


def test_groups_show_only_what_some_row_has(runs):
    page = runs_to_markdown(read_runs(runs))
    assert "| faithfulness" in page
    assert "ground truth" not in page
    assert "equal size" not in page


def test_chosen_columns_stand_in_one_table(runs, capsys, tmp_path):
    main([*runs, "--columns", "FF median", "AI", "--csv", str(tmp_path / "all.csv")])
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert "COMP low" in lines[0]
    said = capsys.readouterr().out
    head = next(line for line in said.splitlines() if line.startswith("| method"))
    assert [cell.strip() for cell in head.split("|")[2:-1]] == [
        "FF median ↑",
        "AI (%) ↑",
    ]
    assert "faithfulness" not in said
    with pytest.raises(SettingError, match=r"did you mean 'SI-SDRi \(dB\)'"):
        main([*runs, "--columns", "SI-SDRi"])


def test_intervals_may_be_left_out(runs):
    table = read_runs(runs)
    assert re.search(
        r"\n\| lmac, seed 1 \| 41.00 \[[\d.]+, [\d.]+\] \|", squeezed(table)
    )
    page = squeezed(table, choose_columns(["AI"]), intervals=False)
    assert "| lmac, seed 1 | 41.00 |" in page
    assert "In brackets" not in page


def squeezed(*arguments, **options):
    return re.sub(" +", " ", runs_to_markdown(*arguments, **options))


def test_conditions_side_by_side(runs, tmp_path, capsys):
    both = ("clean", "speech")
    other = write_run(tmp_path / "other", "other", value=7.0, conditions=both)
    main([*runs, other, "--by_condition", "AI", "kept (dB)"])
    said = re.sub(" +", " ", capsys.readouterr().out)
    tables = said[said.index("| AI (%) ↑ | clean | speech |") :]
    assert [line for line in tables.splitlines() if "---" not in line] == [
        "| AI (%) ↑ | clean | speech |",
        "| lmac | 42.00 ± 1.00 | – |",
        "| other | 7.00 | 7.00 |",
        "| identity | 0.00 | 0.00 |",
        "",
        "| kept (dB) | clean | speech |",
        "| lmac | 42.0 ± 1.0 | – |",
        "| other | 7.0 | 7.0 |",
        "| identity | – | – |",
        "",
    ]
    with pytest.raises(SettingError, match="--by_condition: the table has no column"):
        main([*runs, "--by_condition", "A1"])


def test_the_papers_rows_below_ours(tmp_path, capsys):
    for n_classes in (50, 10):
        recipe = dict.fromkeys(RECIPE, "the same") | {"out_n_neurons": n_classes}
        for seed in (1, 2):
            folder = tmp_path / f"{n_classes}" / str(seed)
            write_run(folder, "lmac_td_alpha0.75", seed=seed, recipe=recipe)
            path = folder / "clips.csv"
            path.write_text(path.read_text().replace("clean,", "speech,"))
        main([*map(str, (tmp_path / f"{n_classes}").iterdir()), "--published"])
        said = capsys.readouterr().out
        assert ("### Published: speech" in said) == (n_classes == 50)
        assert ("No paper reports numbers for this data set" in said) == (
            n_classes < 50
        )
        assert ("| LMAC-TD" in said) == (n_classes == 50)


def test_runs_agree_in_the_settings_that_their_recipes_name(tmp_path):
    """Those with the role mixture; the evaluation writes their names."""
    recipe = dict.fromkeys(RECIPE, "the same")
    named = {MIXTURE_SETTINGS: [*RECIPE, "reverberation"]}
    runs = [
        write_run(tmp_path / f"{seed}", seed=seed, recipe=recipe | more, **named)
        for seed, more in enumerate(({"reverberation": 1}, {"reverberation": 2}))
    ]
    with pytest.raises(DataError, match="they differ in reverberation; compare runs"):
        read_runs(runs)
    change(runs[1], "recipe", "reverberation", value=1)
    assert len(read_runs(runs).table.rows) == 3
    # An earlier version could not differ in what it did not know.
    before = write_run(tmp_path / "before", seed=7, recipe=recipe)
    assert len(read_runs([*runs, before]).table.rows) == 4


def test_a_run_without_a_newer_column_stands_beside_one_that_has_it(runs, tmp_path):
    newer = Path(write_run(tmp_path / "newer", "newer"))
    lines = (newer / "clips.csv").read_text().splitlines()
    lines = [f"{lines[0]},AUC (time)", *(f"{line},0.25" for line in lines[1:])]
    (newer / "clips.csv").write_text("\n".join(lines) + "\n")
    (newer / "clips.csv").write_text(
        (newer / "clips.csv").read_text().replace("clean,identity", "clean,other")
    )
    page = runs_to_markdown(read_runs([*runs, newer]))
    (head,) = (line for line in page.splitlines() if "AUC (time) ↑" in line)
    assert head.startswith("| ground truth")
    assert "| newer" in page.split(head)[1]
