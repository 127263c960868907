"""InterpreterBrain: what training changes, what it must not change, and resuming."""

import copy
import dataclasses

import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.utils.epoch_loop import EpochCounter

from lmac_td.data.mixing import make_mixtures
from lmac_td.data.prepare import prepare
from lmac_td.errors import CheckpointError
from lmac_td.experiment.build import load_recipe
from lmac_td.targets import TargetChoice
from lmac_td.training.brain import InterpreterBrain
from lmac_td.training.checkpoints import WholeCheckpointer
from lmac_td.training.objectives import GuidedMaskingLoss, MaskingLoss
from tests.conftest import ROOT, WaitsForTheGpu

N_VALID = 3  # clips to validate on, and to save samples of


class ListLogger(sb.utils.train_logger.TrainLogger):
    """Keeps the lines instead of writing them."""

    def __init__(self):
        self.lines = []

    def log_stats(self, stats_meta, train_stats=None, valid_stats=None):
        self.lines.append((stats_meta, train_stats, valid_stats))


@pytest.fixture
def data(data_settings):
    return prepare(["train", "valid"], **data_settings)


@pytest.fixture
def fit(data, tmp_path, spectral, frozen, make_lmac_td):
    """Train for some epochs; results are in ``tmp_path``."""

    def run(
        epochs,
        loss=None,
        interpreter=None,
        run_opts=None,
        opt_class=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        **settings,
    ):
        interpreter = interpreter or make_lmac_td()
        counter = EpochCounter(limit=epochs)
        annealing = sb.nnet.schedulers.ReduceLROnPlateau()
        brain = InterpreterBrain(
            modules={
                "features": spectral,
                "classifier": frozen,
                "interpreter": interpreter,
            },
            opt_class=opt_class,
            hparams={
                "objective": loss or MaskingLoss(),
                "targets": TargetChoice(),
                "lr_annealing": annealing,
                "train_logger": ListLogger(),
                "interpret_period": 0,
                "valid_period": 1,
                "repeats": 1,
                "seed": 0,
                "epoch_counter": counter,
                "sample_ids": data.sample_ids("valid", N_VALID),
                "output_folder": tmp_path,
                "class_names": data.class_names,
                **settings,
            },
            run_opts={"noprogressbar": True, "device": "cpu", **(run_opts or {})},
            checkpointer=WholeCheckpointer(
                tmp_path / "save",
                recoverables={
                    "interpreter": interpreter,
                    "counter": counter,
                    "lr_annealing": annealing,
                },
            ),
        )
        valid = data.dataset("valid")
        valid.data_ids = sorted(data.sample_ids("valid", N_VALID))
        brain.fit(
            counter,
            data.dataset("train"),
            valid,
            train_loader_kwargs={"batch_size": 4, "shuffle": True},
            valid_loader_kwargs={"batch_size": 4},
        )
        return brain

    return run


def test_training_changes_the_interpreter_and_not_one_bit_of_the_classifier(
    fit, frozen, make_lmac_td
):
    interpreter = make_lmac_td()
    before = copy.deepcopy(frozen.state_dict())
    untrained = copy.deepcopy(interpreter.state_dict())

    fit(1, interpreter=interpreter)

    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert any("running_mean" in name for name in before)
    changed = {
        name.split(".")[0]
        for name, value in interpreter.state_dict().items()
        if not torch.equal(value, untrained[name])
    }
    assert changed == {"unet", "masknet"}  # and not the filterbank


def test_validation_is_the_same_table_as_the_evaluation(fit):
    brain = fit(1)
    ((meta, train, valid),) = brain.hparams.train_logger.lines
    assert meta["epoch"] == 1
    assert {"loss", "loss_in", "loss_out", "reg", "mask_mean"} <= set(train)
    assert {"AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP"} <= set(valid)
    assert valid["completeness (dB)"] > 30
    expected = 5 * valid["loss_in"] - 0.2 * valid["loss_out"] + 6 * valid["reg"]
    assert valid["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_share_of_guided_clips_is_logged(fit, spectral, make_lmac):
    loss = GuidedMaskingLoss(spectral, cct=0.0, regulariser="mask")
    brain = fit(1, loss=loss, interpreter=make_lmac())
    ((_, train, valid),) = brain.hparams.train_logger.lines
    assert train["guided"] == valid["guided"] == 1
    assert train["guide"] > 0
    chosen_by = brain.checkpointer.find_checkpoint().meta["loss"]
    expected = 5 * valid["loss_in"] - 0.2 * valid["loss_out"] + 6 * valid["reg"]
    assert chosen_by == pytest.approx(expected, rel=1e-4)
    assert valid["loss"] == pytest.approx(expected + 4 * valid["guide"], rel=1e-4)


def test_a_checkpoint_of_other_widths_is_refused(fit, make_lmac_td):
    fit(1)
    other = make_lmac_td()
    other.masknet = type(other.masknet)(
        16, 4, num_layers=1, chunk_size=20, intra_layers=1, inter_layers=1,
        nhead=2, d_ffn=8,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="other settings"):
        fit(2, interpreter=other)


def test_samples_are_saved_every_interpret_period(fit, tmp_path):
    fit(2, interpret_period=2)
    assert not (tmp_path / "samples" / "epoch_001").exists()
    files = sorted(path.name for path in (tmp_path / "samples/epoch_002").iterdir())
    stem = files[0].removesuffix(".png")
    one = [f"{stem}_{name}.wav" for name in ("input", "interpretation", "residual")]
    one += [f"{stem}.png", f"{stem}_mask.png"]
    assert sorted(one) == [name for name in files if name.startswith(stem)]
    assert len(files) == N_VALID * len(one)


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "keeps everything"), (0.0, "keeps nothing")]
)
def test_a_saturated_mask_gives_a_warning(fit, make_lmac_td, caplog, value, words):
    class Saturated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, h):
            return (value + 0 * (h + self.bias)).clamp(0, 1)

    interpreter = make_lmac_td()
    interpreter.masknet = Saturated()
    fit(1, interpreter=interpreter)
    assert words in caplog.text


def test_trains_in_bf16(fit):
    brain = fit(1, run_opts={"precision": "bf16"})
    ((_, train, _),) = brain.hparams.train_logger.lines
    assert train["loss"] == pytest.approx(train["loss"])  # not NaN


class Worsening(MaskingLoss):
    """A loss that is larger at every call, so that the first epoch is the best."""

    calls = 0

    def forward(self, *args):
        self.calls += 1
        terms = super().forward(*args)
        return dataclasses.replace(terms, loss=terms.loss + 100 * self.calls)


def test_the_checkpoint_of_the_lowest_validation_loss_is_kept(fit):
    brain = fit(2, loss=Worsening())
    losses = [valid["loss"] for _, _, valid in brain.hparams.train_logger.lines]
    assert losses == sorted(losses)
    best = brain.checkpointer.find_checkpoint(min_key="loss")
    assert best.meta["epoch"] == 1
    assert best.meta["loss"] == pytest.approx(losses[0])
    assert brain.checkpointer.find_checkpoint().meta["epoch"] == 2  # to resume from


def test_epochs_between_validations_are_logged_and_saved_without_a_loss(fit):
    brain = fit(5, valid_period=2)
    validated = [
        meta["epoch"] for meta, _, valid in brain.hparams.train_logger.lines if valid
    ]
    assert validated == [2, 4, 5]  # the last epoch always is
    assert [meta["epoch"] for meta, *_ in brain.hparams.train_logger.lines] == [
        *range(1, 6)
    ]
    best = brain.checkpointer.find_checkpoint(min_key="loss")
    assert best.meta["epoch"] in validated


def test_an_epoch_without_a_validation_is_resumed_from(fit, capsys):
    fit(1, valid_period=3, epoch_counter=EpochCounter(limit=4))
    capsys.readouterr()
    fit(2, valid_period=3)
    assert "Resuming after epoch 1" in capsys.readouterr().out


def test_a_training_step_does_not_wait_for_the_gpu(fit, data, monkeypatch):
    """Except for SpeechBrain's check that the loss is finite."""
    asked = []

    def counted(method):
        def run(self, *args, **stage):
            with WaitsForTheGpu() as waits:
                result = method(self, *args, **stage)
            if sb.Stage.TRAIN in args:
                asked.append(waits.times)
            return result

        return run

    for name in ("compute_objectives", "compute_forward"):
        method = getattr(InterpreterBrain, name)
        monkeypatch.setattr(InterpreterBrain, name, counted(method))
    fit(1)
    # Mixing checks whether a clip cancels out.
    assert asked == [1, 0] * (len(asked) // 2)


def test_the_clean_clip_belongs_to_the_explained_mixture(fit, monkeypatch):
    ratios = []

    class Keeping(MaskingLoss):
        def forward(self, explained, target):
            other = explained.wavs - target
            ratios.append(target.square().sum(1) / other.square().sum(1))
            return super().forward(explained, target)

    fit(1, loss=Keeping())
    ratio = torch.cat(ratios)
    assert len(ratio) == 10 + N_VALID
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-3, rtol=0)  # 0 dB


@pytest.fixture
def recipes_optimiser():
    """Return the optimiser of the recipes."""
    return load_recipe(ROOT / "hparams" / "lmac_td_demo.yaml", "lr: 0.01")["opt_class"]


def test_the_fused_optimiser_is_adam(recipes_optimiser):
    """It equals PyTorch's plain Adam in float64."""
    shapes = (3,), (4, 5), (2, 3, 4)
    fused, plain = (
        [torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in shapes]
        for _ in range(2)
    )
    ours = recipes_optimiser(fused)
    assert ours.param_groups[0]["fused"]
    adam = torch.optim.Adam(plain, lr=0.01, weight_decay=0.000002, foreach=False)
    for step in range(5):
        for p, q in zip(fused, plain, strict=True):
            p.grad = torch.randn_like(p) * 10.0 ** (step - 2)
            q.grad = p.grad.clone()
        if step == 3:  # as a training that is resumed, from a checkpoint
            state = copy.deepcopy(ours.state_dict())
            ours = recipes_optimiser(fused)
            ours.load_state_dict(state)
        ours.step()
        adam.step()
    for p, q in zip(fused, plain, strict=True):
        torch.testing.assert_close(p, q, atol=1e-12, rtol=1e-12)


def test_resumes_from_the_last_checkpoint_with_a_message(
    fit, recipes_optimiser, capsys
):
    """Also the recipes' optimiser does."""
    fit(1, opt_class=recipes_optimiser)
    assert "Resuming" not in capsys.readouterr().out
    brain = fit(2, opt_class=recipes_optimiser)
    assert "Resuming after epoch 1" in capsys.readouterr().out
    ((meta, train, _),) = brain.hparams.train_logger.lines
    assert meta["epoch"] == 2
    assert train["loss"] == pytest.approx(train["loss"])  # not NaN
    steps = {float(state["step"]) for state in brain.optimizer.state.values()}
    assert steps == {2 * 3}  # ten clips per epoch, four a batch


def test_gradients_that_are_not_finite_are_skipped(
    fit, recipes_optimiser, make_lmac_td
):
    """SpeechBrain's --skip_nonfinite_grads works with the fused optimiser."""

    class Broken(MaskingLoss):
        def forward(self, explained, target):
            terms = super().forward(explained, target)
            nothing = (terms.loss - terms.loss.detach()).abs().sqrt()  # its slope: NaN
            return dataclasses.replace(terms, loss=terms.loss + nothing)

    interpreter = make_lmac_td()
    before = copy.deepcopy(interpreter.state_dict())
    settings = {"loss": Broken(), "opt_class": recipes_optimiser}
    run_opts = {"max_grad_norm": 0.5, "skip_nonfinite_grads": True}
    brain = fit(1, interpreter=interpreter, run_opts=run_opts, **settings)
    ((_, train, _),) = brain.hparams.train_logger.lines
    assert train["loss"] == pytest.approx(train["loss"])
    for name, value in interpreter.state_dict().items():
        assert torch.equal(value, before[name]), name


class Recording(MaskingLoss):
    """Keeps the arguments of its training calls."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, explained, target):
        if torch.is_grad_enabled():
            self.batches.append((explained, target))
        return super().forward(explained, target)


@pytest.fixture
def tagger(frozen, spectral, data):
    """The classifier with sigmoids: some training clips have no tag, some several."""
    frozen.activation = "sigmoid"
    frozen.classifier.weight *= 3000  # its embeddings are faint
    (batch,) = make_dataloader(data.dataset("train"), batch_size=10)
    mixture = make_mixtures(batch, "cpu").mixture
    # Logits that differ by clip and not only by class.
    frozen.classifier.bias -= frozen.decide(mixture).logits.mean(dim=0)
    strongest = frozen.decide(mixture).probabilities.amax(dim=1)
    frozen.threshold = float(strongest.sort().values[2:4].mean())
    return frozen


def test_training_explains_each_tag_or_the_strongest_if_there_is_none(
    fit, tagger, make_lmac_td
):
    loss, interpreter = Recording(), make_lmac_td()
    before = copy.deepcopy(tagger.state_dict())
    untrained = copy.deepcopy(interpreter.state_dict())
    brain = fit(1, loss=loss, interpreter=interpreter)

    n_tags = []  # of each clip
    for explained, target in loss.batches:
        chosen, p = {}, {}
        for clip, row, tag in zip(
            explained.clip_ids,
            explained.decision.probabilities.tolist(),
            explained.decision.target.tolist(),
            strict=True,
        ):
            chosen.setdefault(clip, []).append(tag)
            p[clip] = row
        for clip, tags in chosen.items():
            row = p[clip]
            above = [c for c, value in enumerate(row) if value >= tagger.threshold]
            assert tags == (above or [row.index(max(row))])
            n_tags.append(len(above))
        # The clean clip belongs to the mixture of the entry, at 0 dB.
        other = explained.wavs - target
        ratio = target.square().sum(1) / other.square().sum(1)
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-3, rtol=0)
    assert len(n_tags) == 10
    assert min(n_tags) == 0
    assert max(n_tags) > 1

    ((_, train, valid),) = brain.hparams.train_logger.lines
    assert train["loss"] == pytest.approx(train["loss"])  # not NaN
    expected = 5 * valid["loss_in"] - 0.2 * valid["loss_out"] + 6 * valid["reg"]
    assert valid["loss"] == pytest.approx(expected, rel=1e-4)
    for name, value in tagger.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert any(
        not torch.equal(value, untrained[name])
        for name, value in interpreter.state_dict().items()
    )


def test_samples_of_tags_are_saved_by_tag(fit, tagger, data, tmp_path):
    chosen = data.sample_ids("valid", 1)
    fit(1, interpret_period=1, sample_ids=chosen)
    names = [path.name for path in (tmp_path / "samples/epoch_001").iterdir()]
    stems = {name.removesuffix("_input.wav") for name in names if "_input" in name}
    assert len(names) == 5 * len(stems)
    clips = {stem.rsplit("_", 1)[0] for stem in stems}
    assert clips == set(chosen)
    assert {int(stem.rsplit("_", 1)[1]) for stem in stems} <= set(range(10))
