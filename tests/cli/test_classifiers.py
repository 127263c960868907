"""The two commands explain any classifier that a short recipe names."""

import csv
import json
import shutil

import pytest
import soundfile
import torch
import transformers

from tests.classifiers.huggingface.models import (
    AST,
    config_of,
    extractor_of,
    network_of,
)
from tests.classifiers.test_speechbrain import save_model
from tests.commands import CLASSIFIER, EVALUATE, TRAIN, refused, run
from tests.conftest import ROOT
from tests.docs.test_readme import path_of
from tests.networks import WaveformCnn

LABELS = ["dog", "rain", "waves", "crickets", "birds"]
TAGS = "multi_label_classification"
TAG_THRESHOLD = 0.5
# Added to the logits of the tags: some clips have several tags, and some have none.
SHIFT = torch.tensor([0.0, -1.9, 0.4, 0.0, 0.7])


BOTH = "[in_domain, clean]"  # the demo scores one condition alone


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a tiny AST, the same for tags, and the weights of a tiny CNN."""
    folder = tmp_path_factory.mktemp("workplace")
    save_ast(folder / "ast", config_of(AST))
    save_ast(folder / "ast_tags", config_of(AST, problem_type=TAGS), SHIFT)
    torch.save(WaveformCnn(len(LABELS)).state_dict(), folder / "cnn.pt")
    return folder


def save_ast(folder, config, shift=0, **of_extractor):
    network = network_of(config)
    network.classifier.dense.bias.data += shift
    network.save_pretrained(folder)
    extractor_of(config, **of_extractor).save_pretrained(folder)


def recipe_of(kind, workplace, corpus, method="lmac_td_demo"):
    """A recipe of one classifier, as a user would write it."""
    own = {
        "cnn14": """
pretrained_classifier: results/cnn14/classifier
cnn14_channels: [2, 4, 4, 8, 8]
emb_dim: 8
""",
        "huggingface": "pretrained_classifier: ast\n",
        "tags": f"pretrained_classifier: ast_tags\ntag_threshold: {TAG_THRESHOLD}\n",
        "modules": f"""
network: !new:tests.networks.WaveformCnn {{n_classes: {len(LABELS)}}}
pretrained_classifier: cnn.pt
labels: [{", ".join(LABELS)}]
representations: [relu3, relu2]
""",
    }[kind]
    overlay = {"cnn14": None, "tags": "huggingface"}.get(kind, kind)
    overlay = f", {ROOT}/hparams/classifiers/{overlay}.yaml" if overlay else ""
    narrow = """
encoder_channels: 128
unet_channels: [4, 4, 4, 4]
masknet_channels: 8
d_ffn: 8
"""
    if method == "lmac_demo":
        narrow = "unet_channels: [4, 4, 4, 4]\nclassifier_input: audio\n"
    return lines(
        f"""
extends: [{ROOT}/hparams/{method}.yaml{overlay}]
experiment_name: {method}_{kind}
{own}
data_folder: {corpus}/ESC-50
wham_folder: {corpus}/wham_noise
signal_length_s: 1
number_of_epochs: 1
output_folder: !ref results/<experiment_name>
{narrow}
"""
    )


def lines(text):
    """The text without its empty lines."""
    return "\n".join(filter(None, text.splitlines())) + "\n"


@pytest.fixture
def written(workplace, corpus, monkeypatch):
    """Write a recipe into the user's folder, where the commands are run."""
    monkeypatch.chdir(workplace)

    def write(kind, **settings):
        text = recipe_of(kind, workplace, corpus, **settings)
        assert len(text.splitlines()) <= 15
        (workplace / f"{kind}.yaml").write_text(text)
        return f"{kind}.yaml"

    return write


@pytest.fixture
def cnn14(workplace, with_trained):
    """A tiny CNN14, trained by its own command, in the user's folder."""
    trained = with_trained("cnn14") / "results" / "cnn14"
    shutil.copytree(trained, workplace / "results" / "cnn14")


def clip_scores(folder, condition, method):
    with open(folder / "clips.csv", newline="", encoding="utf-8") as file:
        return [
            row
            for row in csv.DictReader(file)
            if (row["condition"], row["method"]) == (condition, method)
        ]


@pytest.mark.slow
def test_cnn14(written, cnn14, workplace):
    run(TRAIN, written("cnn14"))
    said = run(EVALUATE, "cnn14.yaml", condition=BOTH, n_samples=1).stdout
    assert said.count("\n| lmac_td_demo_cnn14 ") == 2 * 3 + 2 * 2
    assert "classifier: CNN14" in said


@pytest.mark.slow
def test_a_network_of_ones_own(written, workplace):
    run(TRAIN, written("modules"))
    said = run(EVALUATE, "modules.yaml", condition=BOTH, n_samples=10).stdout
    assert said.count("\n| lmac_td_demo_modules ") == 2 * 3 + 2 * 2
    assert "classifier: WaveformCnn" in said
    # The weights are those of the file.
    network = WaveformCnn(len(LABELS))
    network.load_state_dict(torch.load("cnn.pt", weights_only=True))
    folder = workplace / "results" / "lmac_td_demo_modules" / "evaluation"
    rows = clip_scores(folder, "in_domain", "lmac_td_demo_modules")
    assert len(rows) == 10
    for row in rows:
        path = folder / "samples" / "in_domain" / f"{row['clip_id']}_input.wav"
        wav, _ = soundfile.read(path, dtype="float32")
        with torch.no_grad():
            p = network(torch.from_numpy(wav).unsqueeze(0)).softmax(dim=1)[0]
        assert int(row["decided"]) == int(p.argmax())
        assert float(row["p_x"]) == pytest.approx(float(p.max()), abs=1e-3)


@pytest.mark.slow
def test_the_readmes_ast(workplace, corpus, monkeypatch):
    """The recipe that README shows, on the tiny corpus, by narrow networks."""
    monkeypatch.chdir(workplace)
    recipe = path_of("my_ast.yaml", workplace)
    assert len(recipe.read_text().splitlines()) <= 15
    recipe.write_text(recipe.read_text().replace("path/to/my_ast", "ast"))
    tiny = recipe_of("huggingface", workplace, corpus).splitlines()
    kept = [
        line
        for line in tiny
        if not line.startswith(("extends", "experiment_name", "pretrained_classifier"))
    ]
    (workplace / "tiny.yaml").write_text(
        "extends: my_ast.yaml\n" + "\n".join(kept) + "\n"
    )
    run(TRAIN, "tiny.yaml")
    said = run(EVALUATE, "tiny.yaml", condition=BOTH, n_samples=1).stdout
    assert said.count("\n| my_ast ") == 2 * 3 + 2 * 2
    assert "classifier: ASTForAudioClassification" in said


def check_against_the_pipeline(folder, method, classifier, tagged):
    """What clips.csv holds is what the pipeline gives for the saved sounds."""
    pipeline = transformers.pipeline("audio-classification", str(classifier))
    labels = pipeline.model.config.id2label
    probabilities = []
    for condition in ("in_domain", "clean"):
        samples = folder / "samples" / condition
        saved = {path.name.split("_")[0] for path in samples.glob("*_input.wav")}
        assert len(saved) > 1
        rows = clip_scores(folder, condition, method)
        for row in (row for row in rows if row["clip_id"] in saved):
            label = labels[int(row["decided"])]
            stem = f"{row['clip_id']}_{label}" if tagged else row["clip_id"]
            for column, sound in (
                ("p_x", "input"), ("p_in", "interpretation"), ("p_out", "residual"),
            ):  # fmt: skip
                wav, rate = soundfile.read(samples / f"{stem}_{sound}.wav")
                answers = pipeline(
                    {"raw": wav.astype("float32"), "sampling_rate": rate}, top_k=None
                )
                p = {answer["label"]: answer["score"] for answer in answers}
                where = condition, stem, sound
                assert float(row[column]) == pytest.approx(p[label], abs=1e-3), where
                probabilities.append(p[label])
    # They differ, or nothing was compared.
    assert max(probabilities) - min(probabilities) > 0.1


@pytest.mark.slow
def test_an_encoder_of_speechbrain_is_measured(workplace, corpus, monkeypatch):
    """Its own attributions by Grad-CAM and occlusion, which train nothing."""
    monkeypatch.chdir(workplace)
    save_model(workplace / "ecapa")
    text = lines(
        f"""
extends:
  - {ROOT}/hparams/baselines_demo.yaml
  - {ROOT}/hparams/classifiers/speechbrain.yaml
experiment_name: ecapa
pretrained_classifier: ecapa
methods: [gradcam, occlusion]
classifier_input: audio
data_folder: {corpus}/ESC-50
wham_folder: {corpus}/wham_noise
signal_length_s: 1
output_folder: results/ecapa
"""
    )
    assert len(text.splitlines()) <= 15
    (workplace / "ecapa.yaml").write_text(text)
    said = run(EVALUATE, "ecapa.yaml", condition="in_domain", n_samples=1).stdout
    for row in ("gradcam", "occlusion", "oracle"):
        assert said.count(f"\n| {row} ") == 2 * 3
    assert "classifier: SpeechBrain's ECAPA_TDNN" in said


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lmac_td_demo", "lmac_demo"])
def test_an_ast_has_the_probabilities_of_its_pipeline(written, workplace, method):
    recipe = written("huggingface", method=method)
    run(TRAIN, recipe)
    said = run(EVALUATE, recipe, condition=BOTH, n_samples=5).stdout
    row = f"{method}_huggingface"
    # Once a group: what it is scored on is the sound already.
    assert said.count(f"\n| {row} ") == 2 * 3 + 2 * 2
    assert "as audio" not in said
    assert "classifier: ASTForAudioClassification" in said
    folder = workplace / "results" / row / "evaluation"
    check_against_the_pipeline(folder, row, workplace / "ast", tagged=False)
    settings = json.loads((folder / "table.json").read_text())["settings"]
    assert settings["target"] == "auto"
    # Nothing of the classifier is in the checkpoint.
    checkpoint, *_ = (workplace / "results" / row / "save").glob("CKPT*")
    keys = torch.load(checkpoint / "interpreter.ckpt")
    assert {key.split(".")[0] for key in keys} <= {
        "filterbank", "unet", "masknet", "decoder",
    }  # fmt: skip


@pytest.mark.slow
def test_tags_have_an_entry_a_clip_and_tag(written, workplace):
    recipe = written("tags")
    run(TRAIN, recipe)
    run(EVALUATE, recipe, condition=BOTH, n_samples=5)
    row = "lmac_td_demo_tags"
    folder = workplace / "results" / row / "evaluation"
    check_against_the_pipeline(folder, row, workplace / "ast_tags", tagged=True)
    pages = (folder / "table.md").read_text()
    without = json.loads((folder / "table.json").read_text())["without_target"]
    for condition in ("in_domain", "clean"):
        rows = clip_scores(folder, condition, row)
        entries = [(r["clip_id"], r["decided"]) for r in rows]
        assert len(set(entries)) == len(entries)
        clips = {clip for clip, _ in entries}
        # Of some clips several tags are explained, and of some none.
        assert len(clips) < len(entries)
        assert without[condition]
        assert clips.isdisjoint(without[condition])
        assert len(clips) + len(without[condition]) == 10
        for scores in rows:
            assert float(scores["p_x"]) >= TAG_THRESHOLD
            kept = float(scores["p_in"]) >= TAG_THRESHOLD
            assert float(scores["Fid-In"]) == kept
        section = pages.split(f"### {condition}\n")[1].split("\n### ")[0]
        note = f"in {len(without[condition])} of 10 clips, which are not scored: "
        assert note + ", ".join(without[condition]) in section

    # One tag that is asked for is explained in every clip.
    chosen = {"target": "rain", "condition": "clean", "references": False}
    run(EVALUATE, recipe, n_samples=1, **chosen)
    rows = clip_scores(folder.with_name("evaluation_clean"), "clean", row)
    assert [r["decided"] for r in rows] == ["1"] * 10
    assert min(float(r["p_x"]) for r in rows) < TAG_THRESHOLD


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("huggingface", {"sample_rate": 32000}, "--sample_rate 16000"),
        ("huggingface", {"pretrained_classifier": "./nowhere"}, "nowhere"),
        ("huggingface", {"representations": "[7]"}, "from 0 to 2"),
        ("huggingface", {"target": "siren"}, "target is 'siren'"),
        ("huggingface", {"target": 5}, "a number below 5"),
        ("huggingface", {"target": "tags"}, "--target decided, or a class"),
        ("huggingface", {"activation": "relu"}, "--activation auto, softmax or"),
        ("huggingface", {"tag_threshold": 2}, "--tag_threshold"),
        ("modules", {"representations": "[relu7]"}, "these can be named: relu3"),
        (
            "modules",
            {"pretrained_classifier": "nowhere.pt"},
            "nowhere.pt is not a file",
        ),
        ("modules", {"labels": 7}, "give as many labels as it has classes"),
        ("modules", {"network": "none"}, "network builds an object: change it in"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(
    written, workplace, kind, settings, words
):
    refuse(written(kind), workplace, words, **settings)


def test_a_masked_spectrogram_is_refused_by_an_ast(written, workplace):
    recipe = written("huggingface", method="lmac_demo")
    settings = {"classifier_input": "spectrogram"}
    refuse(recipe, workplace, "give --classifier_input audio", **settings)


def test_attributions_that_an_ast_cannot_serve_are_named(workplace, written):
    (workplace / "baselines.yaml").write_text(
        f"extends: [{ROOT}/hparams/baselines_demo.yaml, "
        f"{ROOT}/hparams/classifiers/huggingface.yaml]\n"
        "pretrained_classifier: ast\noutput_folder: results/refused\n"
        "classifier_input: audio\nsignal_length_s: 1\n"
    )
    sentence = refused(EVALUATE, "baselines.yaml")
    assert "leave guided_gradcam out of --methods" in sentence
    assert not (workplace / "results" / "refused").exists()


def test_only_cnn14_is_trained_as_a_classifier(workplace, written):
    (workplace / "trained.yaml").write_text(
        f"extends: [{ROOT}/hparams/cnn14_demo.yaml, "
        f"{ROOT}/hparams/classifiers/huggingface.yaml]\n"
        "pretrained_classifier: ast\noutput_folder: results/refused\n"
    )
    sentence = refused(CLASSIFIER, "trained.yaml")
    assert "cannot be built: " in sentence
    assert "'HuggingFaceClassifier' object has no attribute" in sentence
    assert not (workplace / "results" / "refused").exists()


def test_an_extractor_of_another_rate_is_refused(written, workplace):
    config = config_of(AST)
    save_ast(workplace / "ast_8k", config, sampling_rate=8000)
    settings = {"pretrained_classifier": "ast_8k"}
    refuse(written("huggingface"), workplace, "--sample_rate 8000", **settings)


def refuse(recipe, workplace, words, **settings):
    """The training refuses it in one sentence, and writes nothing."""
    results = workplace / "results" / "refused"
    cache = workplace / "results" / "cache_of_refused"
    sentence = refused(
        TRAIN, recipe, output_folder=results, cache_folder=cache, **settings
    )
    assert words in sentence
    assert not results.exists()
    assert not cache.exists()
