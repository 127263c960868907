"""Other methods, cut to a size, as rows of a table."""

import json

import pytest
import torch

from lmac_td.interpreters.attribution import build_attributions
from lmac_td.interpreters.budgeted import Budgeted, cut_to_size, share_kept
from tests.commands import EVALUATE, run


@pytest.fixture
def methods(spectral):
    return build_attributions(["saliency", "gradcam"], features=spectral)


def test_without_a_size_methods_stay_as_they_are(methods, spectral):
    assert cut_to_size(methods, spectral, keep=None) == methods


@pytest.mark.parametrize(
    ("keep", "rows"),
    [
        (0.5, ["saliency 0.5", "gradcam 0.5"]),
        ([0.25], ["saliency 0.25", "gradcam 0.25"]),
        (
            [0.25, 0.5],
            ["saliency 0.25", "saliency 0.5", "gradcam 0.25", "gradcam 0.5"],
        ),
    ],
)
def test_a_row_is_named_by_its_method_and_share(methods, spectral, keep, rows):
    cut = cut_to_size(methods, spectral, keep=keep)
    assert all(isinstance(method, Budgeted) for method in cut.values())
    named = {}
    for name, interpreter in cut.items():
        named |= interpreter.rows(name)
    assert list(named) == rows


def test_every_clip_keeps_the_share(methods, spectral, frozen, wavs):
    cut = cut_to_size(methods, spectral, keep=0.5)["saliency 0.5"]
    features = spectral(wavs)
    explanation = cut(wavs, features, frozen.decide(wavs))
    shares = share_kept(explanation.mask, features.magnitude)
    assert shares == pytest.approx(torch.full((4,), 0.5), abs=1e-4)


def test_the_command_scores_cut_attributions(with_trained):
    folder = with_trained("cnn14")
    settings = {"methods": "[gradcam, saliency]", "keep": 0.5, "n_samples": 0}
    run(EVALUATE, folder / "baselines.yaml", condition="in_domain", **settings)
    (path,) = folder.glob("results/*/evaluation_in_domain/table.json")
    table = json.loads(path.read_text())
    rows = [row["method"] for row in table["rows"]]
    assert rows[:2] == ["gradcam 0.5", "saliency 0.5"]
    # The classifier takes the sound, so no row is scored on the resynthesised sound.
    assert not any("as audio" in row for row in rows)
