"""A listening test: what listeners get, and what becomes of their ratings."""

import contextlib
import json
import threading
import urllib.parse
import urllib.request

import numpy as np
import pandas as pd
import pytest
import ruamel.yaml
import soundfile
from matplotlib.image import imread

from lmac_td.cli.listening_test import main
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.table import ALWAYS_WRITTEN
from lmac_td.report.listening_test.clips import RatedClip, shared_clips
from lmac_td.report.listening_test.export import QUESTIONS, STUDY_FILE, export_study
from lmac_td.report.listening_test.ratings import (
    mean_opinion_scores,
    read_ratings,
    scores_figure,
)
from lmac_td.report.same_mixtures import BEFORE
from tests.explained_clips import tone

METHODS = ("evidence", "lmac")


def rated_clips(folder, n_clips=5):
    """Clips whose sounds differ in length, so that they can be told apart."""
    return [
        RatedClip(
            f"clip{i}",
            "in_domain",
            "<dog>",
            tone(folder / f"{i}_input.wav", 0.1 + i / 100),
            {m: tone(folder / f"{i}_{m}.wav", 0.1, 200 + i) for m in METHODS},
            tone(folder / f"{i}_target.wav", 0.1, 900 + i),
        )
        for i in range(n_clips)
    ]


def read_config(path):
    return ruamel.yaml.YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def rating_pages(config):
    (pages,) = [page for page in config["pages"] if isinstance(page, list)]
    assert pages[0] == "random"
    return pages[1:]


def test_each_subset_asks_both_questions_about_each_of_its_clips(tmp_path):
    clips = rated_clips(tmp_path)
    configs = export_study(tmp_path / "out", "study", clips, 3, clips_per_subset=2)
    assert [path.name for path in configs] == [f"study_{i}.yaml" for i in (1, 2, 3)]
    pages = json.loads((tmp_path / "out" / STUDY_FILE).read_text())["pages"]
    of_subsets = []
    for path in configs:
        config = read_config(path)
        assert config["testId"] == path.stem
        asked = [(pages[p["id"]]["clip"], pages[p["id"]]["question"])
                 for p in rating_pages(config)]  # fmt: skip
        of_subsets.append({clip for clip, _ in asked})
        assert sorted(asked) == sorted(
            (clip, question) for clip in of_subsets[-1] for question in QUESTIONS
        )
        assert config["pages"][-1]["type"] == "finish"
        assert config["pages"][-1]["writeResults"]
    # Dealt like cards: five clips are all used before one comes again.
    assert [len(clips) for clips in of_subsets] == [2, 2, 2]
    assert set.union(*of_subsets) == {clip.name for clip in clips}


def test_listeners_cannot_see_the_methods_and_the_key_knows_them(tmp_path):
    clips = rated_clips(tmp_path)
    (path,) = export_study(tmp_path / "out", "study", clips, 1)
    text = path.read_text()
    assert not any(method in text for method in METHODS)
    assert "&lt;dog&gt;" in text  # content is HTML
    assert "<dog>" not in text
    pages = json.loads((tmp_path / "out" / STUDY_FILE).read_text())["pages"]
    orders = set()
    for page in rating_pages(read_config(path)):
        assert page["type"] == "likert_multi_stimulus"
        assert [r["value"] for r in page["response"]] == list(range(0, 101, 10))
        key = pages[page["id"]]
        (clip,) = [clip for clip in clips if clip.name == key["clip"]]
        for name, link in page["stimuli"].items():
            given = (tmp_path / "out" / link).read_bytes()
            assert given == clip.interpretations[key["methods"][name]].read_bytes()
        orders.add(tuple(key["methods"].values()))
    assert len(orders) == 2


def test_with_a_reference_pages_are_mushra(tmp_path):
    clips = rated_clips(tmp_path)
    (path,) = export_study(tmp_path / "out", "study", clips, 1, with_reference=True)
    pages = rating_pages(read_config(path))
    assert len(pages) == 5
    for page in pages:
        assert page["type"] == "mushra"
        assert page["randomize"]
        assert not page["showConditionNames"]
        assert (tmp_path / "out" / page["reference"]).is_file()


def test_the_same_seed_gives_the_same_study(tmp_path):
    clips = rated_clips(tmp_path)
    texts = []
    for seed in (0, 0, 1):
        export_study(tmp_path / "out", "study", clips, 2, 3, seed=seed)
        files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
        texts.append([(p.name, p.read_bytes()) for p in files])
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "My test"}, "--name"),
        ({"n_subsets": 0}, "--subsets"),
        ({"clips_per_subset": 0}, "--clips"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(tmp_path, changed, words):
    arguments = {"name": "study", "clips": rated_clips(tmp_path)} | changed
    with pytest.raises(SettingError, match=words):
        export_study(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_without_a_clean_target_there_is_no_reference(tmp_path):
    clip = RatedClip("a", "clean", "dog", tone(tmp_path / "a.wav", 0.1), {})
    with pytest.raises(SettingError, match="clean target of a is not known"):
        export_study(tmp_path / "out", "study", [clip], with_reference=True)


def exported(folder):
    """A study with its key, without sounds: two clips, both questions."""
    pages = {
        f"study_1_c{i}_{question}": {
            "clip": f"clip{i}",
            "condition": "in_domain",
            "target": "dog",
            "question": question,
            "methods": dict(zip(("C1", "C2"), METHODS[:: 1 - 2 * i], strict=True)),
        }
        for i in (0, 1)
        for question in QUESTIONS
    }
    folder.mkdir()
    (folder / STUDY_FILE).write_text(json.dumps({"pages": pages}))
    return pages


def rating_of(listener, page, method):
    """A rating that depends on listener, clip, question and method."""
    quality = page["question"] == "quality"
    return 10 * (METHODS.index(method) * 4 + 2 * quality + listener)


def answers(pages, listener):
    for trial, page in pages.items():
        for stimulus, method in page["methods"].items():
            yield trial, stimulus, rating_of(listener, page, method)


def test_ratings_of_webmushra_are_read(tmp_path):
    pages = exported(tmp_path / "study")
    lines = ["session_test_id,listener,trial_id,stimuli_rating,stimuli,rating_time"]
    # Both listeners call themselves Kim. webMUSHRA pads ratings with blanks.
    for listener in (0, 1):
        lines += [
            f'study_1,Kim,{trial}," {rating} ",{stimulus},{1000 + listener}'
            for trial, stimulus, rating in answers(pages, listener)
        ]
    (tmp_path / "lms.csv").write_text("\n".join(lines))
    ratings = read_ratings(tmp_path / "study", [tmp_path / "lms.csv"])
    assert len(ratings) == 2 * 2 * 2 * 2
    assert ratings["listener"].nunique() == 2
    scores = mean_opinion_scores(ratings).set_index(["question", "method"])
    for question, extra in (("correspondence", 0), ("quality", 20)):
        for number, method in enumerate(METHODS):
            row = scores.loc[question, method]
            assert row["mean"] == 40 * number + extra + 5
            # Two listeners: the interval is from one to the other.
            assert (row["low"], row["high"]) == (row["mean"] - 5, row["mean"] + 5)
            assert (row["ratings"], row["listeners"]) == (4, 2)


def test_the_hidden_reference_of_mushra_is_a_method(tmp_path):
    exported(tmp_path / "study")
    trial = "study_1_c0_quality"
    (tmp_path / "mushra.csv").write_text(
        "session_test_id,listener,session_uuid,trial_id,rating_stimulus,rating_score,"
        "rating_time,rating_comment\n"
        f"study_1,Kim,u1,{trial},reference,100,1,\n"
        f'study_1,Kim,u1,{trial},C1,60,2,"good; really"\n'
    )
    ratings = read_ratings(tmp_path / "study", [tmp_path / "mushra.csv"])
    assert ratings["method"].tolist() == ["reference", "evidence"]
    assert ratings["rating"].tolist() == [100, 60]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "other columns"),
        ("", "other columns"),
        ("trial_id,stimuli,stimuli_rating\nx,C1,5\n", "'x' is not of this study"),
        ("trial_id,stimuli,stimuli_rating\nstudy_1_c0_quality,C9,5\n", "'C9'"),
        ("trial_id,stimuli,stimuli_rating\nstudy_1_c0_quality,C1,?\n", "no rating"),
    ],
)
def test_results_that_do_not_fit_are_refused(tmp_path, text, words):
    exported(tmp_path / "study")
    (tmp_path / "lms.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_ratings(tmp_path / "study", [tmp_path / "lms.csv"])


def test_a_study_without_its_key_is_refused(tmp_path):
    with pytest.raises(DataError, match="the folder that was exported"):
        read_ratings(tmp_path, [])


def test_the_figure_is_drawn(tmp_path):
    scores = pd.DataFrame(
        {"question": ["quality"] * 2, "method": METHODS, "mean": [50.0, 60.0],
         "low": [40.0, np.nan], "high": [55.0, np.nan]}
    )  # fmt: skip
    scores_figure(tmp_path / "mos.png", scores)
    assert imread(tmp_path / "mos.png").ndim == 3


def evaluated(folder, method, clips=("a", "b")):
    """What an evaluation with samples leaves; every clip is decided as class 1."""
    folder.mkdir(parents=True)
    scores = dict.fromkeys(ALWAYS_WRITTEN, 0.5)
    scores |= {"condition": "in_domain", "method": method, "decided": 1}
    pd.DataFrame([scores | {"clip_id": clip} for clip in clips]).to_csv(
        folder / "clips.csv", index=False
    )
    settings = {"seed": 1, "test_fold_nums": 1, "mixing_seed": 1, "snr_db": {}}
    settings |= {"methods": [method], "remarks": {}, "classes": ["cat", "dog"]}
    settings["recipe"] = dict.fromkeys(BEFORE, 0)
    (folder / "table.json").write_text(json.dumps({"settings": settings}))
    samples = folder / "samples" / "in_domain"
    for clip in clips:
        for name in ("input", "interpretation", "target"):
            tone(samples / f"{clip}_{name}.wav", 0.1)
        (samples / f"{clip}_mask.png").write_bytes(b"")
    return folder


def test_clips_that_all_methods_explain_are_rated(tmp_path):
    folders = [
        evaluated(tmp_path / "one" / "evaluation", "lmac", ("a", "b")),
        evaluated(tmp_path / "two" / "evaluation", "evidence", ("b", "c")),
        evaluated(tmp_path / "three" / "evaluation", "lmac", ("b",)),
    ]
    (clip,) = shared_clips(folders)
    assert (clip.name, clip.condition, clip.target) == ("b", "in_domain", "dog")
    assert list(clip.interpretations) == ["lmac", "evidence", "lmac, three"]
    assert clip.clean.name == "b_target.wav"
    with pytest.raises(SettingError, match="no sample clip"):
        shared_clips([*folders[:1], evaluated(tmp_path / "four" / "e", "x", ("c",))])


@contextlib.contextmanager
def served(folder):
    """Pymushra, serving a folder on the loopback address; yields its address."""
    service = pytest.importorskip(
        "pymushra.service", reason="pymushra is not installed: pip install pymushra"
    )
    from tinydb import TinyDB
    from werkzeug.serving import make_server

    service.app.config |= {
        "webmushra_dir": str(folder),
        "admin_allowlist": ["127.0.0.1"],
    }
    with TinyDB(folder / "db.json") as service.app.config["db"]:
        server = make_server("127.0.0.1", 0, service.app)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(60)


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


def test_a_listening_test_from_evaluations_to_scores(tmp_path, capsys):
    """Export, serve, rate as a browser sends ratings, download, read."""
    names = {"lmac": 20, "evidence": 80}
    folders = [str(evaluated(tmp_path / name / "evaluation", name)) for name in names]
    study = tmp_path / "study"
    main(["export", *folders, "--out", str(study), "--name", "mos", "--subsets", "1"])
    assert "2 clips, rated for lmac, evidence" in capsys.readouterr().out
    pages = json.loads((study / STUDY_FILE).read_text())["pages"]
    with served(study) as server:
        config = ruamel.yaml.YAML(typ="safe").load(
            get(f"{server}/configs/mos_1.yaml").decode()
        )
        shown = rating_pages(config)
        sound = get(f"{server}/{shown[0]['stimuli']['C1']}")
        assert sound[:4] == b"RIFF"
        for listener, offset in (("Kim", -5), ("Noor", 5)):
            trials = [
                {
                    "type": page["type"],
                    "id": page["id"],
                    "testId": config["testId"],
                    "responses": [
                        {
                            "stimulus": name,
                            "stimulusRating": names[pages[page["id"]]["methods"][name]]
                            + offset,
                            "time": 1234,
                        }
                        for name in page["stimuli"]
                    ],
                }
                for page in shown
            ]
            session = {
                "testId": config["testId"],
                "config": "configs/mos_1.yaml",
                "participant": {"name": ["listener"], "response": [listener]},
                "trials": trials,
            }
            form = urllib.parse.urlencode({"sessionJSON": json.dumps(session)})
            address = f"{server}/{config['remoteService']}"
            with urllib.request.urlopen(address, form.encode(), timeout=30) as answer:
                assert json.load(answer)["error"] is False
        found = get(f"{server}/admin/download/mos_1.csv")
    (tmp_path / "ratings.csv").write_bytes(found)
    out = tmp_path / "scores"
    main(["read", str(study), str(tmp_path / "ratings.csv"), "--out", str(out)])
    assert "2 listeners" in capsys.readouterr().out
    scores = pd.read_csv(out / "mos.csv").set_index(["question", "method"])
    for question in QUESTIONS:
        for name, mean in names.items():
            row = scores.loc[question, name]
            assert (row["mean"], row["low"], row["high"]) == (mean, mean - 5, mean + 5)
    assert {p.name for p in out.iterdir()} == {
        "mos.csv", "mos.md", "mos.png", "ratings.csv"
    }  # fmt: skip
    assert soundfile.info(str(study / shown[0]["stimuli"]["C1"])).duration > 0
