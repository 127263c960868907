"""Benchmarks compare equal tasks, count correctly, and their commands run."""

import importlib

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import command, cost, explaining, measure, sides, train_step
from benchmarks.eval_batch import agreement as metrics_agree
from benchmarks.published import PlainUNet
from benchmarks.report import speed_table
from benchmarks.scaling import from_line, scaling_table
from benchmarks.train_step import agreement
from lmac_td.interpreters.perturbation import METHODS
from tests.conftest import ROOT

# The published U-Net needs clips of five seconds.
NARROW = {
    "emb_dim": 64,
    "cnn14_channels": [2, 4, 8, 16, 32],
    "unet_channels": [8, 8, 8, 8],
    "masknet_channels": 8,
    "masknet_layers": 1,
    "intra_layers": 1,
    "inter_layers": 1,
    "nhead": 2,
    "d_ffn": 8,
}
OVERRIDES = command.overrides(NARROW.items())
SHORT = ["--setting", "signal_length_s", "1"]
GIVEN = [word for item in NARROW.items() for word in ("--setting", *map(str, item))]


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)  # where the commands are run


def gradients(training):
    """Return the loss and the gradients of its first step."""
    kept = {}

    def keep(*_):
        for name, parameter in training.brain.modules["interpreter"].named_parameters():
            if parameter.grad is not None:
                kept[name] = parameter.grad.double()

    training.brain.optimizer.register_step_pre_hook(keep)
    return training()["loss"], kept


def in_float64(training):
    """Return the published implementation in double precision."""
    brain = training.brain
    brain.modules.double()
    brain.hparams.compute_stft.window = brain.hparams.compute_stft.window.double()
    fbank = brain.hparams.compute_fbank
    for name, value in vars(fbank).items():
        if isinstance(value, torch.Tensor):
            setattr(fbank, name, value.double())
    training.batch = {"mixture": training.batch["mixture"].double()}
    return training


def distance(found, truth):
    """Return the distance of two gradients, relative to the norm of the second."""
    of = torch.cat([(found[name] - truth[name]).flatten() for name in truth])
    return float(of.norm() / torch.cat([g.flatten() for g in truth.values()]).norm())


def test_both_implementations_have_the_same_loss_and_gradient():
    """Ours must be as close to float64 as the published one, since both are float32."""
    way = sides.training_as_published
    theirs, ours, exact = (
        way(sides.PUBLISHED, OVERRIDES, 2, "cpu"),
        sides.training(sides.PUBLISHED, OVERRIDES, 2, "cpu"),
        in_float64(way(sides.PUBLISHED, OVERRIDES, 2, "cpu")),
    )
    (their_loss, their_gradient), (loss, gradient) = gradients(theirs), gradients(ours)
    true_loss, truth = gradients(exact)
    assert loss == pytest.approx(true_loss, rel=1e-6)
    assert their_loss == pytest.approx(true_loss, rel=1e-6)
    assert gradient.keys() == their_gradient.keys() == truth.keys()
    assert distance(their_gradient, truth) < 2e-4
    assert distance(gradient, truth) < 5e-5


def test_both_implementations_have_the_same_seven_metrics():
    theirs = sides.evaluation_as_published(sides.PUBLISHED, OVERRIDES, 2, "cpu")()
    ours = sides.evaluation_batch(sides.PUBLISHED, OVERRIDES, 2, "cpu")()
    whole = sides.evaluation_batch(
        sides.PUBLISHED, OVERRIDES, 2, "cpu", equal_size=True
    )()
    assert list(theirs) == list(ours) == list(whole) == list(sides.SEVEN)
    for name, values in theirs.items():
        assert ours[name] == pytest.approx(values, rel=1e-4, abs=1e-4), name
        assert whole[name] == ours[name], name
    assert "COMP" in metrics_agree(theirs, ours)


def test_a_different_gradient_is_reported():
    """The digest shows a difference in a single tensor."""
    net = PlainUNet(dim=16)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    one = {"loss": 1.0, **sides.digest(net)}
    net.convt5.weight.grad *= 1.001
    other = {"loss": 1.0, **sides.digest(net)}
    assert agreement(one, one).count("0.0e+00") == 3
    assert agreement(one, other).count("0.0e+00") == 2
    assert "without that of convt5.weight" in agreement(one, other)


def test_the_flop_of_attention_are_counted():
    def attend(backend):
        query, key, value = torch.rand(3, 2, 4, 32, 8, requires_grad=True).unbind()
        with sdpa_kernel(backend):
            out = scaled_dot_product_attention(query, key, value)
        out.sum().backward()

    fused = cost.counted(lambda: attend(SDPBackend.FLASH_ATTENTION))
    plain = cost.counted(lambda: attend(SDPBackend.MATH))
    product = 2 * 2 * 4 * 32 * 32 * 8 / 1e9
    assert plain == pytest.approx(6 * product)  # two products, four of their gradients
    assert fused == pytest.approx(7 * product)  # one of them computed again


def test_turns_ratios_and_spread():
    assert measure.ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    assert measure.with_spread([3.0, 1.0, 2.0]) == "2.00 [1.00, 3.00]"
    measured = [
        measure.Measured([0.22, 0.2], 1.0, 5.0, {}),
        measure.Measured([1.0, 1.0], 1.0, 25.0, {}),
    ]
    table = scaling_table([1.0, 5.0], measured, batch_size=1)
    assert "1.05 [1.00, 1.10]" in table
    assert "from proportional: 5 %" in table
    assert "the ends: 0 %" in table
    # GFLOP per second of one clip, for any number of clips in the batch.
    assert [row.split("|")[-2].strip() for row in table.splitlines()[2:4]] == ["5", "5"]
    of_two = scaling_table([1.0, 5.0], measured, batch_size=2).splitlines()[2:4]
    assert [row.split("|")[-2].strip() for row in of_two] == ["2.5", "2.5"]
    costs = [measure.Measured([s], 1.0, 5.0, {}) for s in (2.0, 6.0, 6.0)]
    assert from_line([1.0, 3.0, 5.0], costs) == pytest.approx(6 / 4 - 1)
    assert from_line([5.0], costs[:1]) == 0


def test_without_a_gpu_one_sentence_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        train_step.main(["--device", "cuda"])
    assert stopped.value.code == 2
    assert "no CUDA GPU is available: give --device cpu" in capsys.readouterr().err


def test_every_method_without_training_is_timed(capsys):
    few = ["--setting", "n_calls", "100", "--setting", "steps", "3"]
    words = [*GIVEN, *few, "--repeats", "1", "--setting", "signal_length_s", "1"]
    explaining.main(words)
    rows = {
        row.split("|")[1].strip(): int(row.split("|")[2])
        for row in capsys.readouterr().out.splitlines()
        if row.startswith("| ") and "classified" not in row and "---" not in row
    }
    assert list(rows) == ["evidence", "mask optimisation", *METHODS]
    # The decision itself is one; what is kept and removed are not classified.
    assert rows["evidence"] == 1 + 8 + 6
    assert rows["mask optimisation"] == 1 + 2 * 3
    assert rows["feature_ablation"] == 1 + 1 + 8 * 2
    assert {rows[name] for name in METHODS if name != "feature_ablation"} == {101}


def test_the_efficiency_is_relative_to_the_arithmetic_of_a_side():
    taken = [measure.Measured([1.0], 1.0, 6.0, {})] * 3
    every = [
        measure.Side("as published", None, {}, set_up=False),
        measure.Side("lmac-td", None, {}),
        measure.Side("with bf16", None, {}),
    ]
    rates = {"float32": 10.0, "bf16": 100.0, "as published": 60.0}
    table = speed_table("step", every, taken, 1, rates)
    shares = [row.split("|")[-2].strip() for row in table.splitlines()[2:5]]
    assert shares == ["10", "60", "6"]


def test_variants_can_be_measured_without_the_published_step(monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(train_step, "print_head", lambda *_: {})
    monkeypatch.setattr(
        train_step,
        "measure_and_print",
        lambda _, every, *__: measured.append([s.name for s in every]),
    )
    train_step.main(["--without_published", "--also", "bf16", "checkpointing"])
    assert measured == [
        ["lmac-td, default geometry", "with bf16", "with checkpointing"]
    ]
    with pytest.raises(SystemExit) as stopped:
        train_step.main(["--without_published"])
    assert stopped.value.code == 2
    assert "give --also" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "heads"),
    [
        (["train_step", "--also", "checkpointing"], ["times as fast", "the losses"]),
        (["eval_batch"], ["times as fast", "all columns", "Largest difference"]),
        (["scaling", "--work", "training", "--lengths", "1"], ["proportional"]),
        (["scaling", "--work", "evaluation", "--lengths", "1"], ["proportional"]),
        (["epoch", "--clips", "1", *SHORT], ["sum of its steps"]),
        (
            ["methods", "--batch_size", "1", *SHORT],
            ["budgeted, known mixtures", "evidence, quick"],
        ),
    ],
)
def test_commands(words, heads, monkeypatch, capsys):
    name, *options = words
    # The cheapest of them starts its processes as users do.
    monkeypatch.setattr(measure, "FORKED", "evaluation" not in options)
    module = importlib.import_module(f"benchmarks.{name}")
    module.main(["--repeats", "1", *options, *GIVEN])
    printed = capsys.readouterr().out
    for head in ("Machine: ", "| ---", *heads):
        assert head in printed
