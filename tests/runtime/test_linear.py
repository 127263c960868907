"""A linear layer computed as a convolution: the same numbers, used where faster."""

import io

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from lmac_td.runtime import linear as module
from lmac_td.runtime.linear import Linear, as_convolution, linear, mkl_lacks_avx512

EPYC = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"


@pytest.fixture
def taken(monkeypatch):
    """Count the products of oneDNN, on a machine where it is faster."""
    calls = []

    def counting(*operands):
        calls.append(1)
        return as_convolution(*operands)

    monkeypatch.setattr(module, "ONEDNN_IS_FASTER", True)
    monkeypatch.setattr(module, "as_convolution", counting)
    return calls


def machine(monkeypatch, cpuinfo, capability="AVX512"):
    """Simulate another processor."""

    def read(*_, **__):
        if cpuinfo is None:
            raise FileNotFoundError
        return io.StringIO(cpuinfo)

    monkeypatch.setattr("builtins.open", read)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, "is_available", lambda: True)


def literal(x, weight, bias):
    """Return y_m = sum_n W_mn x_n + b_m, one output at a time."""
    columns = [(x * row).sum(-1) for row in weight]
    y = torch.stack(columns, -1)
    return y if bias is None else y + bias


@pytest.mark.parametrize("lead", [(), (7,), (2, 3, 5)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_outputs_and_gradients_equal_a_linear_layer(lead, with_bias):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.requires_grad_()

    inputs = [draw(*lead, 4), draw(3, 4)] + ([draw(3)] if with_bias else [])
    weights = torch.randn(*lead, 3, generator=generator, dtype=torch.float64)
    found = []
    for function in (as_convolution, F.linear, literal):
        y = function(*inputs, *([] if with_bias else [None]))
        assert y.shape == (*lead, 3)
        found.append([y, *torch.autograd.grad((y * weights).sum(), inputs)])
    for other in found[1:]:
        for one, twin in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, twin, rtol=1e-12, atol=1e-12)


def test_inputs_may_have_any_memory_layout():
    x = torch.rand(6, 5, 4, dtype=torch.float64).transpose(0, 2)  # (4, 5, 6)
    weight = torch.rand(6, 3, dtype=torch.float64).T
    torch.testing.assert_close(
        as_convolution(x, weight), F.linear(x, weight), rtol=1e-12, atol=1e-12
    )


def test_the_layer_has_the_weights_and_the_keys_of_a_linear_layer(taken):
    torch.manual_seed(0)
    ours = Linear(4, 3)
    torch.manual_seed(0)
    theirs = nn.Linear(4, 3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.rand(2, 5, 4)
    torch.testing.assert_close(ours(x), theirs(x))
    assert len(taken) == 1


def test_only_float32_on_a_cpu_goes_through_onednn(taken):
    x, weight, bias = torch.rand(2, 5, 4), torch.rand(3, 4), torch.rand(3)
    linear(x.double(), weight.double(), bias.double())
    linear(x.to("meta"), weight.to("meta"), bias.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    assert not taken
    linear(x, weight, bias)
    assert taken


def test_an_empty_input_gives_an_empty_output(taken):
    assert linear(torch.rand(2, 0, 4), torch.rand(3, 4)).shape == (2, 0, 3)


def test_mkl_is_used_where_it_is_as_fast(taken, monkeypatch):
    monkeypatch.setattr(module, "ONEDNN_IS_FASTER", False)
    x, weight, bias = torch.rand(2, 5, 4), torch.rand(3, 4), torch.rand(3)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert not taken


@pytest.mark.parametrize(
    ("cpuinfo", "capability", "faster"),
    [
        (EPYC, "AVX512", True),
        (EPYC, "AVX2", False),
        (EPYC.replace("AuthenticAMD", "GenuineIntel"), "AVX512", False),
        ("processor\t: 0\n", "AVX512", False),
        (None, "AVX512", False),
    ],
)
def test_processors_for_which_onednn_is_faster(
    monkeypatch, cpuinfo, capability, faster
):
    machine(monkeypatch, cpuinfo, capability)
    assert mkl_lacks_avx512() is faster


@pytest.mark.parametrize("library", ["mkl", "mkldnn"])
def test_mkl_is_used_if_pytorch_lacks_one_of_the_libraries(monkeypatch, library):
    machine(monkeypatch, EPYC)
    monkeypatch.setattr(getattr(torch.backends, library), "is_available", lambda: False)
    assert mkl_lacks_avx512() is False


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN")
def test_a_single_thread_uses_onednn_too():
    """With one thread, PyTorch uses oneDNN only for many images."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile() as profiler:
            as_convolution(torch.rand(16, 5, 4), torch.rand(3, 4))
    finally:
        torch.set_num_threads(before)
    assert "aten::mkldnn_convolution" in {
        event.key for event in profiler.key_averages()
    }
