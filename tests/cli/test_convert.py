"""`lmac-td convert`: what was published is explained and measured by the commands."""

import json
import shutil

import pytest

from lmac_td.cli import convert
from tests.commands import EVALUATE, refused, run
from tests.convert.published import (
    save_classifier,
    save_lmac,
    save_lmac_td,
    save_nmf,
)

CONVERT = "lmac_td/cli/convert.py"
TEN = tuple("abcdefghij")


def test_each_kind_says_what_it_assumed_and_how_to_use_it(tmp_path, capsys):
    checkpoint, _ = save_lmac(tmp_path / "lmac")
    save_classifier(tmp_path / "hub", labels=None)
    out = tmp_path / "out"
    arguments = [str(checkpoint), "--classifier", str(tmp_path / "hub")]
    convert.main(["lmac", *arguments, "--out", str(out / "lmac"), "--n_fft", "1024"])
    said = capsys.readouterr().out
    assert "There is no label_encoder.txt: the classes have numbers" in said
    assert "those of the published recipe: sample_rate 16000, win_length" in said
    assert f"lmac-td explain RECORDING --interpreter {out / 'lmac'}" in said
    save_nmf(tmp_path / "nmf_decoder.ckpt")
    convert.main(["nmf", str(tmp_path), "--out", str(out / "nmf")])
    said = capsys.readouterr().out
    assert "1 of 7 patterns are 0 everywhere" in said
    assert f"--nmf_dictionary {out / 'nmf'}" in said
    convert.main(["classifier", str(tmp_path / "hub"), "--out", str(out / "cnn14")])
    said = capsys.readouterr().out
    assert f"lmac-td explain RECORDING --classifier {out / 'cnn14'}" in said


def test_mistakes_are_one_sentence(tmp_path):
    save_nmf(tmp_path / "nmf_decoder.ckpt")
    out = tmp_path / "out"
    said = refused(CONVERT, "lmac", tmp_path, out=out)
    assert "has no psi_model.ckpt or psi.ckpt: give the folder" in said
    said = refused(CONVERT, "nmf", tmp_path, out=out, classifier="hub")
    assert "nmf takes no --classifier: leave it out" in said
    said = refused(CONVERT, "nmf", tmp_path, out=out, alpha=1)
    assert "no setting named 'alpha'" in said
    (tmp_path / "nmf_decoder.ckpt").write_bytes(b"torn")
    assert "is corrupt or is not a" in refused(CONVERT, "nmf", tmp_path, out=out)
    said = refused(CONVERT, "nmf", tmp_path, out=tmp_path)
    assert f"{tmp_path} exists: give another --out" in said
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmac", "lmac_td"])
def test_a_converted_folder_is_measured_where_it_lies(tmp_path, corpus, kind):
    save = {"lmac": save_lmac, "lmac_td": save_lmac_td}[kind]
    save(tmp_path / "released")
    save_classifier(tmp_path / "released" / "save", labels=TEN)
    (checkpoint,) = (tmp_path / "released" / "save").glob("CKPT+*")
    run(CONVERT, kind, checkpoint, out=tmp_path / "out")
    shutil.rmtree(tmp_path / "released")
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    run(
        EVALUATE,
        moved / "recipe.yaml",
        data_folder=corpus / "ESC-50",
        wham_folder=corpus / "wham_noise",
        output_folder=tmp_path / "results",
        cache_folder=tmp_path / "cache",
        condition="clean",
        test_fold_nums="[5]",
        n_samples=0,
        references=False,
    )
    table = json.loads((tmp_path / "results/evaluation_clean/table.json").read_text())
    row = table["rows"][0]
    assert row["n_clips"] == 10
    assert 0 <= row["metrics"]["Fid-In"]["mean"] <= 1
