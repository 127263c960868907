"""``--compile`` keeps numbers and state-dict keys; wrong options are refused."""

import shutil
import subprocess

import pytest
import torch
from speechbrain.utils.run_opts import RunOptions
from torch._inductor import config as inductor

from lmac_td.errors import SettingError
from lmac_td.nn.sepformer import MaskNet
from lmac_td.runtime.compilation import compile_networks, networks_to_compile
from lmac_td.training.objectives import MaskingLoss
from tests.batches import decided_batch, explained_batch


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch):
    """Compile without generating code; return the batches that the networks get."""
    compiled = torch.nn.Module.compile
    calls = []

    def backend(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self, **options: compiled(
            self, **{**options, "mode": None}, backend=backend
        ),
    )
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return calls


def step(interpreter, classifier, spectral, wavs):
    """Return the loss and the gradients of a training step."""
    decided = decided_batch(wavs, spectral, classifier)
    loss = MaskingLoss()(explained_batch(interpreter, decided), wavs).loss.mean()
    learned = [p for p in interpreter.parameters() if p.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, learned, allow_unused=True)]


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_a_compiled_step_equals_the_step(
    make_lmac_td, frozen, spectral, wavs, traced, again
):
    """For two batch sizes, with and without activation checkpointing."""
    interpreter = make_lmac_td().train()
    for block in interpreter.masknet.dual_mdl:
        for half in (block.intra_mdl, block.inter_mdl):
            half.checkpoint_activations = again
    keys = list(interpreter.state_dict()), list(frozen.state_dict())
    plain = [step(interpreter, frozen, spectral, wavs[:n]) for n in (4, 3)]
    compile_networks(interpreter, frozen, RunOptions(compile=True))
    assert not traced
    compiled = [step(interpreter, frozen, spectral, wavs[:n]) for n in (4, 3)]
    assert len(traced) >= 3  # MaskNet, the U-Net, CNN14 with and without gradients
    assert (list(interpreter.state_dict()), list(frozen.state_dict())) == keys
    assert isinstance(interpreter.masknet, MaskNet)
    for expected, found in zip(plain, compiled, strict=True):
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-7)


def test_trained_networks_and_the_classifier_are_compiled(
    make_lmac_td, make_lmac, frozen
):
    run_opts = RunOptions(compile=True)
    networks = networks_to_compile(make_lmac_td(), frozen, run_opts)
    assert list(networks) == ["embedding_model", "classifier", "unet", "masknet"]
    assert networks["embedding_model"] is frozen.embedding_model
    networks = networks_to_compile(make_lmac(), frozen, run_opts)
    assert list(networks) == ["embedding_model", "classifier", "decoder"]
    assert networks_to_compile(make_lmac(), frozen, RunOptions()) == {}


def test_networks_can_be_selected(make_lmac_td, frozen):
    run_opts = RunOptions(compile=True, compile_module_keys=["masknet"])
    assert list(networks_to_compile(make_lmac_td(), frozen, run_opts)) == ["masknet"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"compile_module_keys": ["interpreter"]},
            "embedding_model, classifier, unet, masknet",
        ),
        ({"jit": True}, "--compile"),
    ],
)
def test_what_cannot_be_compiled_is_refused(make_lmac_td, frozen, options, words):
    run_opts = RunOptions(compile=True, **options)
    with pytest.raises(SettingError, match=words):
        networks_to_compile(make_lmac_td(), frozen, run_opts)


def test_without_a_compiler_the_remedy_is_named(make_lmac_td, frozen, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingError, match="no-such-compiler"):
        networks_to_compile(make_lmac_td(), frozen, RunOptions(compile=True))
    assert networks_to_compile(make_lmac_td(), frozen, RunOptions()) == {}


def has_compiler():
    try:
        subprocess.run(["g++", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")
def test_generated_code_gives_the_same_numbers(make_lmac_td, frozen, monkeypatch):
    """The U-Net with the default backend of ``--compile``."""
    # Both would only take time here.
    monkeypatch.setattr(inductor, "compile_threads", 1)
    monkeypatch.setattr(inductor, "cpp_cache_precompile_headers", False)
    interpreter = make_lmac_td()
    unet, weight = interpreter.unet, interpreter.unet.rises[0][0].weight
    _, reps = frozen.embedding_model(torch.rand(2, 127, 80))

    def answer():
        h = unet(reps, 126 * 186, 301, 8)
        return h, torch.autograd.grad(h.square().sum(), weight)[0]

    plain = answer()
    run_opts = RunOptions(compile=True, compile_module_keys=["unet"])
    compile_networks(interpreter, frozen, run_opts)
    torch.testing.assert_close(answer(), plain, rtol=1e-4, atol=1e-6)
