"""Methods by name, their settings, and the recipes that build them."""

import importlib
import shutil
from pathlib import Path

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment.build import load_recipe
from lmac_td.interpreters import attribution
from lmac_td.interpreters.attribution import METHODS, build_attributions, registry
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("method", "common", "named"),
    [
        ("saliency", {"domain": "wavelet"}, "--domain"),
        ("saliency", {"mask_domain": "db"}, "--mask_domain"),
        ("saliency", {"classifier_input": "no"}, "--classifier_input"),
        (
            "saliency",
            {"domain": "mel", "classifier_input": "audio"},
            "--classifier_input spectrogram",
        ),
        ("lime", {}, "--methods"),
        (
            "smoothgrad",
            {"settings": {"smoothgrad": {"noise_level": -1}}},
            "--noise_level",
        ),
        (
            "smoothgrad",
            {"settings": {"smoothgrad": {"n_samples": 0}}},
            "--smoothgrad_samples",
        ),
        (
            "integrated_gradients",
            {"settings": {"integrated_gradients": {"n_steps": 1.5}}},
            "--n_steps",
        ),
        (
            "occlusion",
            {"settings": {"occlusion": {"time_segments": True}}},
            "--time_segments",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(build, method, common, named):
    with pytest.raises(SettingError, match=named):
        build(method, **common)


@pytest.mark.parametrize("methods", ["saliency", [], None])
def test_methods_are_a_list(methods):
    with pytest.raises(SettingError, match="--methods"):
        build_attributions(methods)


@pytest.mark.parametrize("recipe", ["baselines", "baselines_small", "baselines_demo"])
def test_recipes_build_their_rows(recipe):
    small = {"cnn14_channels": [2, 2, 2, 2, 2], "emb_dim": 4}
    path = ROOT / "hparams" / f"{recipe}.yaml"
    hparams = load_recipe(path, small)
    assert list(hparams["interpreters"]) == hparams["methods"]
    assert set(hparams["methods"]) == set(METHODS)
    hparams = load_recipe(
        path, {**small, "domain": "mel", "methods": ["gradcam", "occlusion"]}
    )
    rows = hparams["interpreters"]
    assert list(rows) == ["gradcam (mel)", "occlusion (mel)"]
    for row in rows.values():
        row.check(hparams["classifier"])
    assert "mel" in hparams["experiment_name"]


def test_a_new_method_is_one_new_file(tmp_path, monkeypatch):
    """Every module of the package is imported, and its method has a name."""
    package = tmp_path / "copied_attribution"
    shutil.copytree(Path(attribution.__file__).parent, package)
    (package / "loudness.py").write_text(
        "from lmac_td.interpreters.attribution.base import Attribution\n"
        "from lmac_td.interpreters.attribution.registry import register\n"
        "\n"
        "@register('loudness')\n"
        "class Loudness(Attribution):\n"
        "    def attribute(self, x, target, logits):\n"
        "        return x\n"
    )
    monkeypatch.setattr(registry, "METHODS", {})
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(package.name)
    assert set(registry.METHODS) == {*METHODS, "loudness"}
    assert registry.METHODS["loudness"].__name__ == "Loudness"
