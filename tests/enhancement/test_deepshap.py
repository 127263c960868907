"""DeepSHAP: eq. 1 and 4, the sums of section 3, and Captum's own answer."""

import pytest
import torch
from captum.attr import DeepLiftShap
from torch import nn

from lmac_td.enhancement.deepshap import MaskShap, repeat_to

N, F = 7, 9


@pytest.fixture(params=["input", "background"])
def shap(estimator, request):
    return MaskShap(estimator, torch.randn(4, N, F), request.param)


@pytest.fixture
def inputs():
    return torch.randn(N, F)


class FrameSums(nn.Module):
    """Σ_f of the mask, (B, N): the outputs that eq. 4 explains."""

    def __init__(self, estimator):
        super().__init__()
        self.estimator = estimator

    def forward(self, inputs):
        return self.estimator(inputs).sum(dim=2)


def test_time_maps_are_those_of_captum(estimator, inputs):
    shap = MaskShap(estimator, torch.randn(4, N, F))
    by_frame = shap.time(inputs)
    assert by_frame.shape == (N, N, F)
    for n in range(N):
        expected = DeepLiftShap(FrameSums(shap.estimator)).attribute(
            inputs[None], baselines=shap.background, target=n
        )[0]
        torch.testing.assert_close(by_frame[n], expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(shap.time(inputs, [5, 2]), by_frame[[5, 2]])


def test_maps_at_the_background_are_those_of_the_shap_toolkit(estimator, inputs):
    shap = pytest.importorskip("shap")
    background = torch.randn(4, N, F)
    expected = shap.DeepExplainer(FrameSums(estimator), background).shap_values(
        inputs[None], check_additivity=False
    )  # (1, N, F, outputs)
    by_frame = MaskShap(estimator, background, "background").time(inputs)
    torch.testing.assert_close(
        by_frame,
        torch.tensor(expected[0]).float().permute(2, 0, 1),
        atol=1e-6,
        rtol=1e-4,
    )


def test_the_rule_is_written_out(shap, inputs):
    """The mean over backgrounds b of (x - b) times the multipliers.

    The multiplier of the sigmoid is Δy / Δz; all else passes gradients, at the input
    (Captum) or at the background (the SHAP toolkit).
    """
    estimator, frame = shap.estimator, 3
    expected = torch.zeros(N, F)
    for b in shap.background:
        x = inputs.clone().requires_grad_()
        b = b.clone().requires_grad_()

        def before_sigmoid(x):
            return estimator.linear(estimator.norm(estimator.lstm(x[None])[0]))[0]

        z, z_b = before_sigmoid(x), before_sigmoid(b)
        for f in range(F):
            change = z[frame, f].sigmoid() - z_b[frame, f].sigmoid()
            multiplier = change / (z[frame, f] - z_b[frame, f])
            point, at = (x, z) if shap.gradients_at == "input" else (b, z_b)
            (gradient,) = torch.autograd.grad(at[frame, f], point, retain_graph=True)
            expected += (multiplier * gradient * (x - b)).detach()
    expected /= len(shap.background)
    torch.testing.assert_close(
        shap.time(inputs, [frame])[0], expected, atol=1e-5, rtol=1e-4
    )


def test_the_sums_agree(shap, inputs):
    """Σ_f Φ^TF(n, f) = Φ^T(n) (eq. 4), and Σ_n Φ^T(n) = Φ^U."""
    by_frame = shap.time(inputs)
    for n in range(N):
        of_bins = sum(shap.time_frequency(inputs, n, f) for f in range(F))
        torch.testing.assert_close(of_bins, by_frame[n], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        by_frame.sum(dim=0), shap.utterance(inputs), atol=1e-5, rtol=1e-4
    )


def test_values_of_a_linear_network_add_up(estimator):
    """Without the LSTM there is nothing that DeepLIFT has no rule for (eq. 1).

    For a function that is linear in the features, the SHAP value of a feature is its
    change from the expected value times its weight.
    """
    x, background = torch.randn(1, 5), torch.randn(6, 5)
    linear = nn.Linear(5, 1)
    values = DeepLiftShap(linear).attribute(x, baselines=background)[0]
    for d in range(5):
        present, absent = background.mean(0).clone(), background.mean(0)
        present[d] = x[0, d]  # h_x(x') with x'_d = 1, all others absent
        torch.testing.assert_close(values[d], (linear(present) - linear(absent))[0])


def test_nothing_changes_in_the_estimator(shap, inputs):
    before = {
        name: value.clone() for name, value in shap.estimator.state_dict().items()
    }
    shap.time(inputs)
    shap.utterance(inputs)
    assert not any(module.training for module in shap.estimator.modules())
    assert not any(module._forward_hooks for module in shap.estimator.modules())
    for name, value in shap.estimator.state_dict().items():
        assert torch.equal(value, before[name])


def test_backgrounds_have_the_length_of_the_input(shap, inputs):
    assert shap.time(inputs[:4]).shape == (4, 4, F)
    longer = torch.cat([inputs, inputs])
    assert shap.time(longer, [0]).shape == (1, 2 * N, F)
    repeated = repeat_to(shap.background, 10)
    assert torch.equal(repeated[:, N:], shap.background[:, : 10 - N])


def test_one_background_is_refused(estimator):
    with pytest.raises(ValueError, match="at least two"):
        MaskShap(estimator, torch.randn(1, N, F))
