"""The paper-size recipes: they build and train a step, LMAC-TD evaluates, on CPU."""

import numpy as np
import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch

from lmac_td.data.mixing import make_mixtures
from lmac_td.evaluation.batches import decide_batch
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.loop import score
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.build import load_recipe
from lmac_td.runtime.allocator import give_freed_memory_back
from lmac_td.training.brain import InterpreterBrain, brain_modules
from tests.batches import explained_batch
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _memory_for_others():
    """A command that ran in this process before may have set it up to keep it."""
    yield
    give_freed_memory_back()


def batch_of(n_clips):
    """As the dataloader gives them: five seconds of noise."""
    return PaddedBatch(
        [
            {
                "id": str(i),
                "clip": 0.1 * torch.randn(80_000),
                "interference": 0.1 * torch.randn(80_000),
                "snr_db": 0.0,
                "class_index": i,
            }
            for i in range(n_clips)
        ]
    )


def ready_to_train(hparams, classifier):
    """A Brain at the beginning of an epoch."""
    brain = InterpreterBrain(
        modules=brain_modules(hparams, classifier),
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts={"device": "cpu"},
    )
    brain.init_optimizers()
    brain.on_stage_start(sb.Stage.TRAIN)
    brain.nonfinite_count = 0
    return brain


@pytest.mark.parametrize(
    ("recipe", "n_clips", "n_frames"),
    [
        ("lmac_td.yaml", 1, 5_001),
        ("lmac_td.yaml", 2, 5_001),
        ("lmac_td_published.yaml", 1, 10_001),
    ],
)
def test_one_training_step_and_one_evaluation_batch(recipe, n_clips, n_frames):
    hparams = load_recipe(ROOT / "hparams" / recipe)
    classifier = hparams["classifier"].freeze()
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
        mixture = make_mixtures(batch, "cpu")
        decided = decide_batch(batch, mixture, hparams["features"], classifier, False)
        explained = explained_batch(interpreter.eval(), decided)
    assert explained.explanation.mask.shape == (n_clips, 256, n_frames)
    score(table, "noise", "lmac_td", decided, explained)
    check_invariants(table)
    assert table.means("noise", "lmac_td")["completeness (dB)"] > 80


def test_the_published_recipe_has_the_published_geometry():
    """What the release's checkpoints have: keys, kernels, chunks."""
    published = load_recipe(ROOT / "hparams" / "lmac_td_published.yaml")
    names = {name.split(".")[0] for name in published["unet"].state_dict()}
    assert names == {f"convt{i}" for i in range(1, 10)}
    assert published["filterbank"].encoder.conv1d.weight.shape == (256, 1, 16)
    assert published["filterbank"].stride == 8
    assert published["masknet"].chunk_size == 250
    ours = load_recipe(ROOT / "hparams" / "lmac_td.yaml")
    assert type(ours["unet"]).__name__ == "AlignedUNet"
    assert ours["unet"].normalise  # so that the mask depends on the classifier
    assert ours["filterbank"].stride == 16
    sizes = [
        sum(p.numel() for p in recipe["masknet"].parameters())
        for recipe in (published, ours)
    ]
    assert sizes[0] == sizes[1]  # MaskNet differs in its frames alone


@pytest.mark.parametrize("method", ["lmac", "lmac_mel", "l2i", "flint", "vibi"])
def test_the_other_methods_take_one_training_step(method, tmp_path):
    dictionary = np.random.default_rng(0).random((513, 100), dtype=np.float32)
    np.save(
        tmp_path / "dictionary.npy", dictionary / np.linalg.norm(dictionary, axis=0)
    )
    settings = f"nmf_dictionary: {tmp_path}\n" if method == "l2i" else ""
    hparams = load_recipe(ROOT / "hparams" / f"{method}.yaml", settings)
    interpreter = hparams["interpreter"]
    classifier = hparams["classifier"].freeze()
    brain = ready_to_train(hparams, classifier)
    before = [p.detach().clone() for p in interpreter.parameters()]
    assert torch.isfinite(brain.fit_batch(batch_of(1)))
    after = list(interpreter.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before, after, strict=True))
