"""A sweep: which runs it lists, what it refuses, and the real commands."""

import shlex

import pytest

from lmac_td.benchmark.options import grouped
from lmac_td.benchmark.plan import plan
from lmac_td.benchmark.sweep import sweep_listing
from lmac_td.cli import sweep
from lmac_td.cli.sweep import main
from lmac_td.errors import SettingError
from lmac_td.report.runs import read_runs
from lmac_td.report.sweep import sweep_figure
from tests.pages import command_lines
from tests.report.test_runs import write_run

LMAC_TD = "hparams/lmac_td.yaml"
EVIDENCE = "hparams/evidence.yaml"


def settings_of(listing):
    return [entry["settings"] for entry in listing.methods]


def test_each_value_is_a_run_in_its_own_folder():
    listing = sweep_listing(LMAC_TD, {"alpha": ["0", "0.5"]}, {"size": "small"}, 2)
    without = {"alpha": "0", "experiment_name": "lmac_td_small_alpha0"}
    mixed = {"alpha": "0.5", "experiment_name": "lmac_td_small_alpha0.5"}
    assert settings_of(listing) == [without, without, mixed, mixed]
    assert [entry["seeds"] for entry in listing.methods] == [[1], [2], [1], [2]]


def test_seeds_of_the_demo_have_folders_of_their_own():
    listing = sweep_listing(LMAC_TD, {"alpha": ["0", "1"]}, {"size": "demo"}, 2)
    folders = [settings["output_folder"] for settings in settings_of(listing)]
    assert folders == [
        f"results/demo/lmac_td_alpha{alpha}/{seed}"
        for alpha in (0, 1)
        for seed in (1, 2)
    ]


def test_several_settings_are_combined():
    swept = {"alpha": ["0", "1"], "lr": ["0.001", "0.01"]}
    listing = sweep_listing(LMAC_TD, swept, {})
    names = [settings["experiment_name"] for settings in settings_of(listing)]
    assert names[:2] == [
        "lmac_td_alpha0_lr0.001",
        "lmac_td_alpha0_lr0.01",
    ]
    assert len(set(names)) == 4


def test_lists_are_values_too():
    listing = sweep_listing(EVIDENCE, {"gains": ["[0.5, 1]", "[1]"]}, {}, train=False)
    names = [settings["experiment_name"] for settings in settings_of(listing)]
    assert names == ["evidence_gains_0.5-1_", "evidence_gains_1_"]
    assert {entry["train"] for entry in listing.methods} == {None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "0.5"], "no setting has several values"),
        (["--alhpa", "0", "1"], "has no setting alhpa"),
        (["--alpha", "0", "1", "--seeds", "0"], "seeds is 0"),
        (["--alpha", "0", "1", "--jobs", "0"], "jobs is 0"),
        (["0", "1"], "'0' has no name"),
        (["--alpha", "0", "--alpha", "1"], "--alpha is given twice"),
        (["--condition", "clean", "speech"], "is read by evaluations only"),
        (["--alpha", "0", "much"], "alpha"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(arguments, words):
    with pytest.raises(SettingError) as error:
        main([LMAC_TD, *arguments])
    assert words in str(error.value)


def test_names_and_values_are_grouped():
    assert grouped(["--a=1", "--b", "-6", "0", "--flag"]) == {
        "a": ["1"],
        "b": ["-6", "0"],
        "flag": [],
    }


@pytest.mark.parametrize("line", command_lines("lmac-td sweep"))
def test_the_commands_of_the_pages_can_be_planned(line, monkeypatch):
    planned = []

    def planned_only(listing, options):
        planned.extend(plan(listing, options))
        raise SettingError("nothing runs in this test")

    monkeypatch.setattr(sweep, "plan", planned_only)
    with pytest.raises(SettingError, match="nothing runs"):
        main(shlex.split(line)[2:])
    assert len(planned) > 1


def test_a_sweep_of_evidence_ends_in_a_table_figures_and_a_page(with_trained, capsys):
    recipe = with_trained("cnn14") / "evidence.yaml"
    folder = recipe.parent / "sweep"
    code = main(
        [
            *(str(recipe), "--jitter", "0", "0.5", "--evaluate_only"),
            *("--folder", str(folder), "--draws", "1", "--gains", "[1]"),
            *("--controls", "False", "--references", "False", "--device", "cpu"),
        ]
    )
    assert code == 0
    printed = capsys.readouterr().out
    for value in ("0", "0.5"):
        assert f"| evidence_jitter{value} " in printed
    for name in ("table.md", "table.csv", "sweep_in_domain.png", "sweep_clean.png"):
        assert (folder / name).stat().st_size > 0
    page = folder / "page" / "index.html"
    assert f"Page to listen and compare:\n    {page}" in printed
    assert "evidence_jitter0 and evidence_jitter0.5</h1>" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "address"), [(["--ray", "auto"], "auto"), (["--ray"], "local")]
)
def test_ray_runs_the_commands_where_it_is_asked_for(given, address, monkeypatch):
    asked = []

    def run_on_ray(steps, folder, address, jobs):
        asked.append((len(steps), address, jobs))
        raise SettingError("nothing runs in this test")

    monkeypatch.setattr(sweep, "run_all_on_ray", run_on_ray)
    with pytest.raises(SettingError, match="nothing runs"):
        main([LMAC_TD, "--alpha", "0", "1", "--size", "demo", "--jobs", "2", *given])
    assert asked == [(4, address, 2)]


def test_the_figure_has_a_point_per_seed(tmp_path):
    paths = [
        write_run(tmp_path / f"{name}{seed}", name, seed, 10.0 * seed)
        for name in ("a", "b")
        for seed in (1, 2)
    ]
    sweep_figure(tmp_path / "sweep.png", read_runs(paths), "clean")
    assert (tmp_path / "sweep.png").stat().st_size > 0
