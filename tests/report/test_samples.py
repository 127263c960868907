"""What is saved of some clips, and the figure that is drawn of it."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from lmac_td.errors import DataError
from lmac_td.interpreters.baselines import HalfGain, Oracle
from lmac_td.report.clip_grid import (
    ClipRow,
    clip_grid_figure,
    clip_rows,
    compared_rows,
    features_of,
    panels_of,
)
from lmac_td.report.figures import mask_image, read_mask
from lmac_td.report.runs import read_run
from lmac_td.report.samples import save_samples
from tests.batches import decided_batch, explained_batch
from tests.commands import EVALUATE, refused, run
from tests.conftest import N_CLASSES, SAMPLE_RATE

DRAW = "recipes/ESC50/draw_samples.py"
LEVEL = 0.51 / 255  # half a level of a mask's picture
NAMES = [str(n) for n in range(N_CLASSES)]


def saved(folder):
    return {path.name for path in folder.iterdir()}


def test_the_true_target_is_saved_if_it_is_known(wavs, spectral, frozen, tmp_path):
    sources = 0.75 * wavs, 0.25 * wavs
    for name, given in (("without", None), ("with", sources)):
        batch = decided_batch(wavs, spectral, frozen, given)
        explained = explained_batch(HalfGain(spectral), batch)
        save_samples(tmp_path / name, batch, explained, spectral, NAMES, {"b"})
    files = {"b.png", "b_mask.png"}
    files |= {f"b_{name}.wav" for name in ("input", "interpretation", "residual")}
    assert saved(tmp_path / "without") == files
    assert saved(tmp_path / "with") == files | {"b_target.wav"}
    target, rate = soundfile.read(tmp_path / "with" / "b_target.wav", dtype="float32")
    assert rate == SAMPLE_RATE
    torch.testing.assert_close(
        torch.from_numpy(target), sources[0][1], atol=1e-5, rtol=0
    )


def test_the_picture_of_a_mask_is_the_mask(wavs, spectral, frozen, tmp_path):
    high = wavs - wavs.roll(1, 1)
    batch = decided_batch(wavs + high, spectral, frozen, (wavs, high))
    explained = explained_batch(Oracle(spectral), batch)
    save_samples(tmp_path, batch, explained, spectral, NAMES, {"a"})
    mask = explained.explanation.mask[0].numpy()
    assert read_mask(tmp_path / "a_mask.png") == pytest.approx(mask, abs=LEVEL)
    # Frequency runs upwards: the first row of the picture is the highest bin.
    picture = imread(tmp_path / "a_mask.png")[..., 0]
    assert picture[0] == pytest.approx(mask[:, -1], abs=LEVEL)


def test_a_mel_mask_is_saved_as_its_gain(wavs, spectral, frozen, make_lmac, tmp_path):
    batch = decided_batch(wavs, spectral, frozen)
    explained = explained_batch(make_lmac("mel"), batch)
    save_samples(tmp_path, batch, explained, spectral, NAMES, {"c"})
    found = read_mask(tmp_path / "c_mask.png")
    kept, mixture = explained.explanation.magnitude[2], batch.features.magnitude[2]
    gain = (kept / mixture).clamp(max=1).detach().numpy()
    loud = (mixture > 1e-3).numpy()
    assert found[loud] == pytest.approx(gain[loud], abs=LEVEL)


def test_what_is_no_picture_of_a_mask_is_named(tmp_path):
    (tmp_path / "a_mask.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a_mask\.png is not a picture"):
        read_mask(tmp_path / "a_mask.png")


def test_a_mask_keeps_its_shape(tmp_path):
    mask = np.random.default_rng(0).random((7, 5))
    mask_image(tmp_path / "mask.png", mask)
    assert read_mask(tmp_path / "mask.png") == pytest.approx(mask, abs=LEVEL)


def test_a_row_without_a_target_has_an_empty_panel(spectral, tmp_path):
    panel = np.random.default_rng(0).random((20, 513))
    full = {name: panel for name in ("mixture", "mask", "kept", "true target")}
    part = {name: full[name] for name in ("mixture", "mask", "kept")}
    rows = [ClipRow("a", part), ClipRow("b", full)]
    clip_grid_figure(tmp_path / "clips.png", rows, spectral, "title")
    assert imread(tmp_path / "clips.png").shape[1] > 1000


@pytest.fixture
def evaluation(with_trained):
    folder = with_trained("cnn14")
    settings = {"methods": "[saliency, gradcam]", "keep": 0.5, "n_samples": 3}
    run(EVALUATE, folder / "baselines.yaml", references=False, **settings)
    return next(folder.glob("results/*/evaluation"))


def test_the_samples_of_an_evaluation_are_drawn(evaluation, tmp_path):
    figure = tmp_path / "figures" / "clips.png"
    printed = run(DRAW, evaluation, figure, clips=2).stdout
    assert "2 clips" in printed
    assert imread(figure).shape[0] > 100
    read = read_run(evaluation)
    rows = clip_rows(read, "in_domain", "gradcam 0.5", 10)
    assert len(rows) == 3
    assert list(rows[0].panels) == ["mixture", "mask", "kept", "true target"]
    classes = json.loads((evaluation / "table.json").read_text())["settings"]["classes"]
    clip, decided, p = rows[0].name.split("\n")
    scores = read.table.row("in_domain", "gradcam 0.5").set_index("clip_id").loc[clip]
    assert decided == classes[int(scores["decided"])]
    assert p == f"p {scores['p_x']:.2f} → {scores['p_in']:.2f}"
    # What is kept is the mixture, masked.
    panels = rows[0].panels
    masked = panels["mixture"] * panels["mask"]
    assert panels["kept"].sum() == pytest.approx(masked.sum(), rel=0.2)
    # A clean clip has no true target besides itself.
    rows = clip_rows(read, "clean", None, 10)
    assert list(rows[0].panels) == ["mixture", "mask", "kept"]


def test_several_rows_are_drawn_beside_each_other(evaluation, tmp_path):
    figure = tmp_path / "clips.png"
    rows = [f"{evaluation}:saliency 0.5", f"{evaluation}:gradcam 0.5"]
    assert "3 clips" in run(DRAW, *rows, figure).stdout
    assert imread(figure).shape[1] > 1000
    read = read_run(evaluation)
    named = {"a": (read, "saliency 0.5"), "b": (read, "gradcam 0.5")}
    first, *_ = drawn = compared_rows(named, "in_domain", 10)
    assert len(drawn) == 3
    assert list(first.panels) == ["mixture", "a", "b", "true target"]
    alone = {row: clip_rows(read, "in_domain", row, 10)[0] for _, row in named.values()}
    for name, (_, row) in named.items():
        np.testing.assert_array_equal(first.panels[name], alone[row].panels["kept"])
    clip, decided, p = first.name.split("\n")
    assert alone["gradcam 0.5"].name.startswith(f"{clip}\n{decided}\n{p} → ")
    assert alone["gradcam 0.5"].name.endswith(first.notes["b"].removeprefix("p"))
    # A clean clip has no true target besides itself.
    assert list(compared_rows(named, "clean", 1)[0].panels) == ["mixture", "a", "b"]


def test_rows_that_cannot_be_drawn_beside_each_other(evaluation, tmp_path):
    row, figure = f"{evaluation}:saliency 0.5", tmp_path / "clips.png"
    assert "is named twice with saliency 0.5" in refused(DRAW, row, row, figure)
    assert "names a row, too" in refused(DRAW, row, figure, row="gradcam 0.5")
    assert "has no method 'x'" in refused(DRAW, row, f"{evaluation}:x", figure)
    other = tmp_path / "other"
    shutil.copytree(evaluation, other)
    samples = other / "samples" / "in_domain" / "saliency 0.5"
    for path in list(samples.iterdir()):
        path.rename(path.with_name(f"other_{path.name}"))
    assert "no clip has a sample in each" in refused(DRAW, row, other, figure)
    table = other / "table.json"
    text = table.read_text().replace('"mixing_seed": ', '"mixing_seed": 7')
    table.write_text(text)
    assert "they differ in mixing_seed" in refused(DRAW, row, other, figure)
    assert not figure.exists()


def test_samples_that_are_not_there_are_named(evaluation, tmp_path):
    figure = tmp_path / "clips.png"
    assert "has no method 'lmac'" in refused(DRAW, evaluation, figure, row="lmac")
    said = refused(DRAW, evaluation, figure, condition="nothing")
    assert "evaluate nothing again, with --n_samples 10" in said
    assert "--clips a whole number from 1 to 1000" in refused(
        DRAW, evaluation, figure, clips=0
    )
    assert "is not a table.json" in refused(DRAW, tmp_path, figure)
    assert not figure.exists()
    folder = evaluation / "samples" / "in_domain" / "saliency 0.5"
    stem = next(folder.glob("*_mask.png")).name.removesuffix("_mask.png")
    (folder / f"{stem}_interpretation.wav").unlink()
    with pytest.raises(DataError, match=r"_interpretation\.wav is missing"):
        panels_of(folder, stem, features_of(read_run(evaluation)))
