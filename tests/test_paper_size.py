"""The paper-size recipes: they build and train a step, LMAC-TD evaluates, on CPU."""

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.brain import InterpreterBrain
from lmac_td.classifier import FrozenClassifier
from lmac_td.evaluation import decide, explain, score
from lmac_td.hparams import load_recipe
from lmac_td.metrics.table import FaithfulnessTable, check_invariants
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hparams():
    return load_recipe(ROOT / "hparams" / "lmac_td.yaml")


def batch_of(n_clips):
    """As the dataloader gives them: five seconds of noise."""
    return PaddedBatch(
        [
            {
                "id": str(i),
                "mixture": 0.1 * torch.randn(80_000),
                "target": 0.1 * torch.randn(80_000),
                "class_index": i,
            }
            for i in range(n_clips)
        ]
    )


def ready_to_train(hparams, classifier):
    """A Brain at the beginning of an epoch."""
    brain = InterpreterBrain(
        modules={
            "features": hparams["features"],
            "classifier": classifier,
            "interpreter": hparams["interpreter"],
        },
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": "cpu"},
    )
    brain.init_optimizers()
    brain.on_stage_start(sb.Stage.TRAIN)
    brain.nonfinite_count = 0
    return brain


@pytest.mark.parametrize("n_clips", [1, 2])
def test_one_training_step_and_one_evaluation_batch(hparams, n_clips):
    classifier = FrozenClassifier(hparams["embedding_model"], hparams["classifier"])
    interpreter = hparams["interpreter"]
    brain = ready_to_train(hparams, classifier)
    before = [p.detach().clone() for p in interpreter.masknet.parameters()]

    loss = brain.fit_batch(batch_of(n_clips))

    assert torch.isfinite(loss)
    after = interpreter.masknet.parameters()
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))

    batch = batch_of(n_clips)
    table = FaithfulnessTable()
    with torch.no_grad():
        wavs = batch.mixture.data
        features, decision = decide(wavs, hparams["features"], classifier)
        heard = explain(wavs, features, decision, interpreter.eval(), classifier)
    assert heard.explanation.mask.shape == (n_clips, 256, 10_001)
    score(table, "noise", "lmac_td", batch, heard)
    check_invariants(table)
    assert table.means("noise", "lmac_td")["completeness (dB)"] > 80


def test_the_published_geometry_is_a_setting(hparams):
    published = load_recipe(ROOT / "hparams" / "lmac_td.yaml", "geometry: published")
    names = {name.split(".")[0] for name in published["unet"].state_dict()}
    assert names == {f"convt{i}" for i in range(1, 10)}
    assert type(hparams["unet"]).__name__ == "AlignedUNet"


@pytest.mark.parametrize("method", ["lmac", "lmac_mel", "l2i"])
def test_the_other_methods_take_one_training_step(method, tmp_path):
    dictionary = np.random.default_rng(0).random((513, 100), dtype=np.float32)
    np.save(
        tmp_path / "dictionary.npy", dictionary / np.linalg.norm(dictionary, axis=0)
    )
    settings = f"nmf_dictionary: {tmp_path}\n" if method == "l2i" else ""
    hparams = load_recipe(ROOT / "hparams" / f"{method}.yaml", settings)
    interpreter = hparams["interpreter"]
    classifier = FrozenClassifier(hparams["embedding_model"], hparams["classifier"])
    brain = ready_to_train(hparams, classifier)
    before = [p.detach().clone() for p in interpreter.parameters()]
    assert torch.isfinite(brain.fit_batch(batch_of(1)))
    after = list(interpreter.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before, after, strict=True))
