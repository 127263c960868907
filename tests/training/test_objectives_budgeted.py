"""BudgetedLoss and NetworkScores: literal twins, distillation, what training draws."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lmac_td.contracts import ExplainedBatch
from lmac_td.errors import SettingError
from lmac_td.evaluation.explaining import answer
from lmac_td.interpreters.budgeted import (
    BinGains,
    Budgeted,
    NetworkScores,
    share_kept,
)
from lmac_td.training.objectives import BudgetedLoss
from lmac_td.training.objectives.budgeted import P_KEPT


@pytest.fixture
def interpreter(spectral, frozen):
    return Budgeted(spectral, NetworkScores(spectral, frozen, width=4))


def explain(interpreter, spectral, frozen, wavs):
    features, decision = spectral(wavs), frozen.decide(wavs)
    ids = tuple(f"clip{i}" for i in range(len(wavs)))
    explanation = interpreter(wavs, features, decision)
    return ExplainedBatch(wavs, features, decision, explanation, clip_ids=ids)


def test_in_training_shares_are_drawn_log_uniformly(
    interpreter, spectral, frozen, wavs
):
    interpreter.trained_with = (0.05, 0.5)
    interpreter.train()
    many = wavs[:1, :4000].expand(200, -1)
    batch = explain(interpreter, spectral, frozen, many)
    size = batch.explanation.size
    assert ((size > 0.05) & (size < 0.5)).all()
    halfway = math.exp((math.log(0.05) + math.log(0.5)) / 2)
    assert (size < halfway).float().mean() == pytest.approx(0.5, abs=0.12)
    kept = share_kept(batch.explanation.mask, batch.features.magnitude)
    torch.testing.assert_close(kept, size, atol=1e-4, rtol=0)


def test_in_evaluation_every_clip_keeps_the_share_of_the_setting(
    interpreter, spectral, frozen, wavs
):
    batch = explain(interpreter.eval(), spectral, frozen, wavs)
    kept = share_kept(batch.explanation.mask, batch.features.magnitude)
    torch.testing.assert_close(kept, torch.full((4,), 0.5), atol=1e-4, rtol=0)


def test_in_validation_the_loss_is_the_formula(interpreter, spectral, frozen, wavs):
    batch = answer(explain(interpreter.eval(), spectral, frozen, wavs))
    terms = BudgetedLoss(l_in_w=2.0, l_out_w=0.25, reg_w_tv=3.0)(batch, wavs)
    for clip, c in enumerate(batch.decision.target.tolist()):
        p_in = batch.kept_logits[clip].softmax(0)[c]
        p_out = batch.removed_logits[clip].softmax(0)[c]
        mask = batch.explanation.mask[clip]
        tv = mask.diff(dim=0).abs().mean() + mask.diff(dim=1).abs().mean()
        masking = -2 * p_in.log() + 0.25 * (1 + p_out / (1 - p_out)).log()
        assert terms.selection[clip].item() == pytest.approx(masking.item(), rel=1e-3)
        loss = masking + 3 * tv
        assert terms.loss[clip].item() == pytest.approx(loss.item(), rel=1e-3)


def test_in_training_the_mean_over_draws_is_the_formula(
    interpreter, spectral, frozen, wavs
):
    """One question a step, weighted by its probability, is unbiased."""
    batch = explain(interpreter.eval(), spectral, frozen, wavs)
    objective = BudgetedLoss(context=0.0, level_db=0.0)
    both = objective(answer(batch), wavs).parts
    draws = [objective(batch, wavs).parts for _ in range(300)]
    for name in ("loss_in", "loss_out"):
        each = torch.stack([parts[name] for parts in draws]).detach()
        asked = (each > 0).float().mean().item()
        p = P_KEPT if name == "loss_in" else 1 - P_KEPT
        assert asked == pytest.approx(p, abs=0.06)
        torch.testing.assert_close(
            each.mean(dim=0), both[name].detach(), rtol=0.35, atol=1e-3
        )


def test_with_context_the_kept_part_is_heard_beside_another_clip(
    interpreter, spectral, frozen, wavs, monkeypatch
):
    batch = explain(interpreter.eval(), spectral, frozen, wavs)
    heard = []
    inputs_of = frozen.inputs_of

    def keeping(sounds):
        heard.append(sounds)
        return inputs_of(sounds)

    monkeypatch.setattr(frozen, "inputs_of", keeping)
    BudgetedLoss(context=1.0, level_db=0.0)(batch, wavs)
    kept, removed = batch.explanation.interpretation, batch.explanation.residual
    others = removed.roll(1, dims=0)
    for clip, sound in enumerate(heard[0]):
        if torch.allclose(sound, removed[clip]):
            continue
        extra = sound - kept[clip]
        level = (extra * others[clip]).sum() / others[clip].square().sum()
        torch.testing.assert_close(extra, level * others[clip], atol=1e-5, rtol=1e-3)
        assert 0.0999 < level < 1.0001


def test_levels_stay_within_their_bounds(
    interpreter, spectral, frozen, wavs, monkeypatch
):
    batch = explain(interpreter.eval(), spectral, frozen, wavs)
    heard = []
    inputs_of = frozen.inputs_of
    monkeypatch.setattr(frozen, "inputs_of", lambda x: heard.append(x) or inputs_of(x))
    objective = BudgetedLoss(context=0.0, level_db=6.0)
    for _ in range(20):
        objective(batch, wavs)
    kept, removed = batch.explanation.interpretation, batch.explanation.residual
    ratios = []
    for sounds in heard:
        for clip, sound in enumerate(sounds):
            for part in (kept[clip], removed[clip]):
                level = (sound * part).sum() / part.square().sum()
                if torch.allclose(sound, level * part, atol=1e-6):
                    ratios.append(20 * level.log10().item())
    assert len(ratios) >= 20 * 4
    assert -6.01 < min(ratios) < -4
    assert 4 < max(ratios) < 6.01


class Counted(Budgeted):
    calls = 0

    def forward(self, wavs, features, decision):
        self.calls += len(wavs)
        return super().forward(wavs, features, decision)


def test_the_teacher_is_asked_once_for_a_mixture_that_is_remembered(
    interpreter, spectral, frozen, wavs
):
    teacher = Counted(spectral, BinGains(spectral, kernels=[[300, 60]], draws=1))
    objective = BudgetedLoss(teacher)
    batch = explain(interpreter.train(), spectral, frozen, wavs)
    memory = tuple({} for _ in wavs)
    batch = replace(batch, decision=replace(batch.decision, memory=memory))
    first = objective(batch, wavs).parts["distil"]
    again = objective(batch, wavs).parts["distil"]
    assert teacher.calls == 4
    torch.testing.assert_close(first, again)
    memory[2].clear()
    objective(batch, wavs)
    assert teacher.calls == 5


def test_the_distance_to_the_teacher_ignores_a_constant(
    interpreter, spectral, frozen, wavs
):
    teacher = Budgeted(spectral, BinGains(spectral, kernels=[[300, 60]], draws=1))
    objective = BudgetedLoss(teacher)
    batch = explain(teacher, spectral, frozen, wavs)  # it explains as its teacher
    near_zero = objective.distance_to_teacher(batch)
    object.__setattr__(batch.explanation, "scores", batch.explanation.scores + 5)
    torch.testing.assert_close(
        objective.distance_to_teacher(batch), near_zero, atol=1e-3, rtol=0
    )
    assert (near_zero < 1e-8).all()
    object.__setattr__(batch.explanation, "scores", -batch.explanation.scores)
    blocks = F.avg_pool2d(batch.explanation.scores, (2, 8), ceil_mode=True)
    expected = 4 * blocks.flatten(1).var(dim=1, correction=0)
    torch.testing.assert_close(
        objective.distance_to_teacher(batch), expected, rtol=1e-2, atol=1e-2
    )


def test_a_step_trains_every_parameter_of_the_network_and_nothing_else(
    interpreter, spectral, frozen, wavs
):
    torch.nn.init.normal_(interpreter.source.network.film.weight, std=0.1)
    teacher = Budgeted(spectral, BinGains(spectral, kernels=[[300, 60]], draws=1))
    objective = BudgetedLoss(teacher)
    batch = explain(interpreter.train(), spectral, frozen, wavs)
    objective(batch, wavs).loss.mean().backward()
    for name, parameter in interpreter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(p.grad is None for p in frozen.parameters())
    assert not list(objective.parameters())


def test_checkpoints_hold_the_network_alone(interpreter):
    names = {name.split(".")[1] for name in interpreter.state_dict()}
    assert names == {"network"}


def test_one_gradient_map_costs_one_gradient_pass(spectral, frozen, wavs, monkeypatch):
    passes = []
    run = frozen.run
    monkeypatch.setattr(frozen, "run", lambda x: passes.append(len(x)) or run(x))
    for gradient_map, expected in ((True, [4]), (False, [])):
        scores = NetworkScores(spectral, frozen, width=4, gradient_map=gradient_map)
        decision, features = frozen.decide(wavs), spectral(wavs)
        passes.clear()
        Budgeted(spectral, scores).eval()(wavs, features, decision)
        assert passes == expected


@pytest.mark.parametrize(
    "setting", [{"context": 1.5}, {"l_in_w": -1}, {"level_db": "loud"}]
)
def test_impossible_settings_are_refused(setting):
    with pytest.raises(SettingError, match=next(iter(setting))):
        BudgetedLoss(**setting)
