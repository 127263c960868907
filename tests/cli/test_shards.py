"""An evaluation by shards writes what one process writes, or refuses.

Each test compares all files of both evaluations: the table, every clip's scores, the
method's own table, samples and the page.
"""

import json
import os
import shutil
import signal

import pandas as pd
import pytest

from lmac_td.cli.evaluation_parts import DONE
from lmac_td.evaluation.frame import ScoreFrame
from lmac_td.report.runs import read_run
from tests.commands import EVALUATE, refused, run, run_as_a_user
from tests.forks import fork_command, launched, wait_for

pytestmark = pytest.mark.slow

# Batches of 3 of 10 clips: the last one is smaller, and a shard has none of some.
COMMON = {"condition": "[in_domain, clean]", "references": False, "n_samples": 2}
COMMON |= {"eval_batch_size": 3}


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differing(one, other):
    return sorted(
        str(path)
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
    )


@pytest.fixture
def l2i(with_trained):
    """The recipe of L2I, its evaluation's folder, and what one process writes there."""
    folder = with_trained("cnn14", "nmf", "l2i")
    (results,) = (folder / "results").glob("l2i*")
    done = run(EVALUATE, folder / "l2i.yaml", **COMMON)
    whole = files_of(results / "evaluation")
    shutil.rmtree(results / "evaluation")
    return folder / "l2i.yaml", results / "evaluation", whole, done.stdout


def test_shards_with_one_killed_and_repeated_write_the_same(l2i):
    recipe, evaluation, whole, printed = l2i
    parts = evaluation.with_name("evaluation.parts")
    run(EVALUATE, recipe, "--shard", "2/3", **COMMON)
    said = refused(EVALUATE, recipe, "--merge", **COMMON)
    assert "shards are missing: score them by --shard 0/3, 1/3" in said
    assert not evaluation.exists()

    def kill_at_its_end():
        from lmac_td.cli import evaluation_parts

        evaluation_parts.replace_folder = lambda *_: os.kill(
            os.getpid(), signal.SIGKILL
        )

    line = EVALUATE, recipe, "--shard", "0/3"
    child = fork_command(*line, prepare=kill_at_its_end, **COMMON)
    assert wait_for(child) == -signal.SIGKILL
    assert not (parts / "0-of-3").exists()
    for shard in ("0/3", "1/3"):
        assert (
            f"Shard {shard} is done: "
            in run(EVALUATE, recipe, "--shard", shard, **COMMON).stdout
        )
    before = files_of(parts / "0-of-3")
    done = run(EVALUATE, recipe, "--shard", "0/3", **COMMON)
    assert "Shard 0/3 is done already" in done.stdout
    assert files_of(parts / "0-of-3") == before
    assert run(EVALUATE, recipe, "--merge", **COMMON).stdout == printed
    assert differing(whole, files_of(evaluation)) == []
    assert not parts.exists()


def test_what_does_not_fit_together_is_refused(l2i):
    recipe, evaluation, whole, _ = l2i
    parts = evaluation.with_name("evaluation.parts")
    for shard in ("0/2", "1/2"):
        run(EVALUATE, recipe, "--shard", shard, **COMMON)

    def refused_after(change):
        kept = shutil.copytree(parts, parts.with_name("kept"))
        change()
        said = refused(EVALUATE, recipe, "--merge", **COMMON)
        assert not evaluation.exists()
        shutil.rmtree(parts)
        kept.rename(parts)
        return said

    def change_done(change):
        path = parts / "0-of-2" / DONE
        done = json.loads(path.read_text())
        change(done)
        path.write_text(json.dumps(done))

    def drop_a_clip():
        change_done(lambda done: done["clips"]["clean"].pop())

    def repeat_a_clip():
        clips = json.loads((parts / "1-of-2" / DONE).read_text())["clips"]["clean"]
        change_done(lambda done: done["clips"]["clean"].append(clips[0]))

    def drop_a_line(of_row=0):
        path = sorted((parts / "0-of-2" / "scores").iterdir())[of_row]
        pd.read_parquet(path)[1:].to_parquet(path)

    def repeat_a_line():
        path = sorted((parts / "0-of-2" / "scores").iterdir())[0]
        lines = pd.read_parquet(path)
        pd.concat([lines[:1], lines], ignore_index=True).to_parquet(path)

    def exchange_lines():
        path = sorted((parts / "0-of-2" / "scores").iterdir())[0]
        pd.read_parquet(path)[::-1].reset_index(drop=True).to_parquet(path)

    def drop_a_column():
        path = sorted((parts / "0-of-2" / "scores").iterdir())[0]
        pd.read_parquet(path).drop(columns="AI").to_parquet(path)

    def drop_a_row():
        sorted((parts / "0-of-2" / "scores").iterdir())[0].unlink()

    assert "is in no part" in refused_after(drop_a_clip)
    assert "is in two parts" in refused_after(repeat_a_clip)
    assert "does not have a score for each clip" in refused_after(drop_a_line)
    assert "does not have a score for each clip" in refused_after(drop_a_row)
    assert "is scored twice" in refused_after(repeat_a_line)
    assert "in another order" in refused_after(exchange_lines)
    assert "differ in their columns" in refused_after(drop_a_column)
    assert "shards are missing: score them by --shard 1/2" in refused_after(
        lambda: shutil.rmtree(parts / "1-of-2")
    )
    assert "is damaged" in refused_after(
        lambda: (parts / "1-of-2" / DONE).write_text("{")
    )
    assert "parts of 2 and of 5 shards" in refused_after(
        lambda: change_done(lambda done: done.update(shard=[0, 5]))
    )
    said = refused(EVALUATE, recipe, "--merge", **COMMON | {"eval_batch_size": 4})
    assert "made with other settings or weights; they differ in eval_batch_size" in said
    said = refused(EVALUATE, recipe, "--merge", **COMMON, wham_snr_db=3)
    assert "they differ in " in said
    assert "wham_snr_db" in said

    # Other weights of the interpreter, with the same settings.
    names = [
        name
        for name in json.loads((parts / "0-of-2" / DONE).read_text())["made from"]
        if name.startswith("weights of")
    ]
    assert len(names) == 2
    change_done(lambda done: done["made from"].update({names[1]: "other"}))
    assert f"they differ in {names[1]}" in refused(
        EVALUATE, recipe, "--merge", **COMMON
    )
    done = run(EVALUATE, recipe, "--shard", "0/2", **COMMON)
    assert "scored with other settings: it is scored again" in done.stdout
    run(EVALUATE, recipe, "--merge", **COMMON)
    assert differing(whole, files_of(evaluation)) == []


def test_two_processes_of_torchrun_write_what_one_writes(l2i):
    recipe, evaluation, whole, _ = l2i
    done = launched(EVALUATE, recipe, **COMMON)
    assert differing(whole, files_of(evaluation)) == []
    assert done.stdout.count("### clean\n") == 1


def test_shards_on_ray_write_what_one_process_writes(l2i):
    pytest.importorskip("ray.tune")
    recipe, evaluation, whole, _ = l2i
    run_as_a_user(EVALUATE, recipe, "--ray", "--shards", "2", **COMMON)
    assert differing(whole, files_of(evaluation)) == []


def test_scores_of_quantus_are_joined(with_trained):
    """More shards than batches: some have nothing to score. Quantus, too."""
    folder = with_trained("cnn14")
    recipe = folder / "evidence.yaml"
    results = folder / "results" / "evidence"
    common = {"condition": "in_domain", "references": False, "n_samples": 1}
    line = ["--quantus", "Sparseness"]
    run(EVALUATE, recipe, *line, **common)
    whole = files_of(results / "evaluation_in_domain")
    shutil.rmtree(results / "evaluation_in_domain")
    for index in range(4):
        run(EVALUATE, recipe, *line, "--shard", f"{index}/4", **common)
    run(EVALUATE, recipe, *line, "--merge", **common)
    assert differing(whole, files_of(results / "evaluation_in_domain")) == []


def test_large_tables_are_read_from_parquet(l2i, monkeypatch):
    recipe, evaluation, whole, printed = l2i
    monkeypatch.setattr("lmac_td.cli.evaluate.MOST_LINES", 5)
    monkeypatch.setattr("lmac_td.evaluation.row_store.LINES_IN_MEMORY", 4)
    assert run(EVALUATE, recipe, **COMMON).stdout == printed
    found = files_of(evaluation)
    names = set(differing(whole, found))
    assert {name for name in names if not name.startswith("scores/")} == {"clips.csv"}
    table = read_run(evaluation).table
    assert isinstance(table, ScoreFrame)
    table.clips_to_csv(evaluation / "again.csv")
    (text,) = (t for path, t in whole.items() if path.name == "clips.csv")
    assert (evaluation / "again.csv").read_bytes() == text


def test_mistakes_of_the_line_are_one_sentence(with_trained):
    recipe = with_trained("cnn14", "lmac_td") / "lmac_td.yaml"
    said = refused(EVALUATE, recipe, "--shard", "3/3")
    assert "shards are counted from 0, here 0/3 to 2/3" in said
    for text in ("1", "a/b", "-1/3", "0/0", "1/2/3"):
        assert "give i/n" in refused(EVALUATE, recipe, f"--shard={text}")
    assert "exclude each other" in refused(
        EVALUATE, recipe, "--shard", "0/2", "--merge"
    )
    assert "give it with --merge" in refused(
        EVALUATE, recipe, "--shard", "0/2", "--compare", "a", "b"
    )
    assert "--shards is for --ray" in refused(EVALUATE, recipe, "--shards", "2")
    assert "holds no part" in refused(EVALUATE, recipe, "--merge")
