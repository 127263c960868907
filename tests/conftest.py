"""Small models, a tiny corpus, and tiny recipes that every test can afford."""

import contextlib
import functools
import os
import signal
from pathlib import Path

# Small models gain nothing from threads, and processes that share cores lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# PyTorch and Ray ask for the names of this machine's addresses, at each connection of
# each process. Where a name server does not answer, one such question takes 10 seconds.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")

import pytest
import speechbrain as sb
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.data.conditions.clean import Clean
from lmac_td.data.conditions.in_domain import InDomain
from lmac_td.data.conditions.mixtures import Mixtures
from lmac_td.data.conditions.speech import Speech
from lmac_td.data.conditions.white_noise import WhiteNoise
from lmac_td.data.demo.corpus import generate_corpus
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.lmac import LMAC
from lmac_td.interpreters.lmac_td import LMACTD
from lmac_td.nn.decoders import build_mask_unet
from lmac_td.nn.filterbank import Filterbank
from lmac_td.nn.sepformer import MaskNet
from lmac_td.nn.unet import AlignedUNet
from tests.trainings import SharedTrainings, make_once

# In the background of a shell these are ignored, and commands would inherit that.
with contextlib.suppress(AttributeError, ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
SAMPLE_RATE = 16000
N_CLASSES = 10
# The names that hparams/base/data.yaml gives.
CONDITIONS = ("in_domain", "mixtures", "white_noise", "speech", "clean")


class WaitsForTheGpu(TorchDispatchMode):
    """Counts values that are brought to the host one by one: a GPU is waited for."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.times += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _environment_is_described_once():
    """Each training writes down the installed packages: ask pip for them once."""
    with pytest.MonkeyPatch.context() as patch:
        describe = functools.cache(sb.utils.logger.get_environment_description)
        patch.setattr(sb.utils.logger, "get_environment_description", describe)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this session, the same in all of its processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def spectral():
    """The recipes' STFT."""
    return SpectralFeatures(SAMPLE_RATE, 1024, 23.2199, 11.6099)


@pytest.fixture
def frozen(spectral):
    """A random, very narrow CNN14 of ten classes, frozen."""
    classifier = Cnn14Classifier(spectral, 80, (2, 4, 4, 8, 8), 8, N_CLASSES)
    # Decisions that differ by clip.
    torch.nn.init.normal_(classifier.classifier.weight, std=3.0)
    return classifier.freeze()


@pytest.fixture
def make_lmac_td(spectral, frozen):
    """Build a very narrow LMAC-TD for the ``frozen`` classifier."""

    def make(alpha=0.75, **settings):
        return LMACTD(
            spectral,
            Filterbank(kernel_size=8, out_channels=16),
            AlignedUNet(frozen.geometry, spectral.hop_samples, 16, (4, 4, 4, 4)),
            MaskNet(
                16, 8, num_layers=1, chunk_size=20, intra_layers=1, inter_layers=1,
                nhead=2, d_ffn=8,
            ),
            alpha=alpha,
            **settings,
        )  # fmt: skip

    return make


@pytest.fixture
def make_lmac(spectral, frozen):
    """Build a very narrow L-MAC for the ``frozen`` classifier."""

    def make(domain="stft", **settings):
        decoder = build_mask_unet("aligned", domain, frozen, spectral, (4, 4, 4, 4))
        return LMAC(spectral, decoder, domain=domain, **settings)

    return make


@pytest.fixture
def wavs():
    """Four one-second clips of noise, of very different levels."""
    gain = torch.tensor([[1.0], [0.3], [0.05], [0.8]])
    return 0.25 * gain * torch.randn(4, SAMPLE_RATE)


@pytest.fixture(scope="session")
def corpus(shared_folder):
    """The embedded corpus, one one-second clip a class and fold."""
    make = functools.partial(
        generate_corpus, clips_per_class_and_fold=1, duration_s=1.0
    )
    return make_once(shared_folder / "corpus", make)


def conditions_on(
    corpus=None,
    *,
    wham_folder=None,
    ljspeech_folder=None,
    wham_snr_db=0,
    mixtures_snr_db=5,
    white_noise_snr_db=3,
    speech_snr_db=3,
    snr="paper",
):
    """The conditions of the recipes, on the noise and the speech of a corpus."""
    if corpus is not None:
        wham_folder = wham_folder or corpus / "wham_noise"
        ljspeech_folder = ljspeech_folder or corpus / "LJSpeech-1.1"
    return {
        "in_domain": InDomain(wham_folder, wham_snr_db),
        "mixtures": Mixtures(mixtures_snr_db, snr),
        "white_noise": WhiteNoise(white_noise_snr_db, snr),
        "speech": Speech(ljspeech_folder, speech_snr_db, snr),
        "clean": Clean(),
    }


@pytest.fixture
def data_settings(corpus, tmp_path):
    """Arguments of ``lmac_td.data.prepare.prepare`` for the tiny corpus."""
    return {
        "dataset": ESC50(corpus / "ESC-50"),
        "all_conditions": conditions_on(corpus),
        "output_folder": tmp_path / "results",
        "fold_nums": {"train": [1], "valid": [4], "test": [5]},
        "sample_rate": SAMPLE_RATE,
        "signal_length_s": 1,
        "mixing_seed": 1,
        "cache_folder": tmp_path / "cache",
    }


class ConstantMask(torch.nn.Module):
    """In MaskNet's place: the same value everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, h):
        return torch.full_like(h, self.value)


class ConstantLogit(torch.nn.Module):
    """In the place of L-MAC's decoder: the logit of the same value everywhere."""

    def __init__(self, value, n_bins=513):
        super().__init__()
        self.logit = torch.tensor(float(value)).logit()
        self.n_bins = n_bins

    def forward(self, representations, n_frames, **_):
        return self.logit.expand(len(representations[0].values), self.n_bins, n_frames)


def with_constant_mask(interpreter, value):
    """Let an LMAC-TD or an L-MAC keep the same share of everything."""
    if hasattr(interpreter, "masknet"):
        interpreter.masknet = ConstantMask(value)
    else:
        n_bins = 513 if interpreter.domain == "stft" else 80
        interpreter.decoder = ConstantLogit(value, n_bins)
    return interpreter


@pytest.fixture(scope="session")
def real_data():
    """Folders of real recordings, where the environment names them."""
    folders = [os.environ.get(name) for name in ("LMAC_TD_ESC10", "LMAC_TD_NOISE")]
    if not all(folders):
        pytest.skip("LMAC_TD_ESC10 and LMAC_TD_NOISE name no real recordings")
    return folders


@pytest.fixture(scope="session")
def real_speech():
    """A folder of real speech, where the environment names it."""
    folder = os.environ.get("LMAC_TD_SPEECH")
    if not folder:
        pytest.skip("LMAC_TD_SPEECH names no real recordings")
    return folder


@pytest.fixture
def tiny_recipes(tmp_path, corpus):
    """Recipes for the commands; returns their folder, results go below it."""
    return write_tiny_recipes(tmp_path, corpus)


@pytest.fixture(scope="session")
def trainings(shared_folder, corpus):
    """Trainings of the tiny recipes, each of them run once in a session."""

    def write(folder):
        folder.mkdir()
        write_tiny_recipes(folder, corpus)

    return SharedTrainings(make_once(shared_folder / "trainings", write))


@pytest.fixture
def with_trained(tiny_recipes, trainings):
    """Call it with names of tiny recipes: they are trained; returns their folder."""

    def copy(*names):
        trainings.copy(names, tiny_recipes)
        return tiny_recipes

    return copy


@pytest.fixture
def trained(with_trained):
    """Tiny recipes whose classifier and LMAC-TD are trained; a copy for one test."""
    return with_trained("cnn14", "lmac_td")


def write_tiny_recipes(folder, corpus):
    """Recipes whose widths and clips are so small that an epoch takes seconds.

    Writes one a method into the folder, named as the demo's without ``_demo``.
    """
    tiny = f"""
data_folder: {corpus / "ESC-50"}
wham_folder: {corpus / "wham_noise"}
ljspeech_folder: {corpus / "LJSpeech-1.1"}
output_folder: !ref {folder}/results/<experiment_name>
cache_folder: {folder}/cache
signal_length_s: 1
"""
    widths = "cnn14_channels: [2, 4, 4, 8, 8]\nemb_dim: 8\n"
    classifier = f"{widths}number_of_epochs: 2\n"
    explained = f"""
pretrained_classifier: {folder}/results/cnn14/classifier
n_samples: 2
condition: [in_domain, clean]
"""
    interpreter = f"{explained}interpret_period: 2\n"
    baselines = """
smoothgrad_samples: 2
n_steps: 4
shap_samples: 2
time_segments: 2
frequency_segments: 2
"""
    perturbation = "n_calls: 20\nsegment_hz: 4000\nsegment_ms: 250\n"
    lmac_td = """
encoder_channels: 16
kernel_size: 8
unet_channels: [4, 4, 4, 4]
masknet_channels: 8
intra_layers: 1
inter_layers: 1
nhead: 2
d_ffn: 8
chunk_size: 50
"""
    l2i = f"""
nmf_dictionary: {folder}/results/nmf/dictionary
psi_width: 4
"""
    flint = "n_attributes: 6\nattribute_width: 4\ndecoder_width: 4\n"
    vibi = "explainer_width: 2\napproximator_width: 2\nchunk_ms: 250\n"
    budgeted = "score_width: 4\ncontrols: True\n"
    recipes = {
        "cnn14": ["cnn14", classifier],
        "nmf": ["nmf", "n_components: 6\nn_iterations: 5\n"],
        "lmac_td": ["lmac_td", classifier, interpreter, lmac_td],
        "lmac": ["lmac", classifier, interpreter, "unet_channels: [4, 4, 4, 4]\n"],
        "l2i": ["l2i", classifier, interpreter, l2i],
        "flint": ["flint", classifier, interpreter, flint],
        "vibi": ["vibi", classifier, interpreter, vibi],
        "baselines": ["baselines", widths, explained, baselines],
        "evidence": ["evidence", widths, explained, "controls: True\n"],
        "mask_optimisation": ["mask_optimisation", widths, explained, "steps: 4\n"],
        "perturbation": ["perturbation", widths, explained, perturbation],
        "budgeted": ["budgeted", classifier, interpreter, budgeted],
    }
    for name, (base, *settings) in recipes.items():
        text = f"extends: {ROOT}/hparams/{base}.yaml\nsize: demo\n"
        text = "".join([text, tiny, *settings])
        (folder / f"{name}.yaml").write_text(text)
    (folder / "lmac_finetune.yaml").write_text(
        "".join(
            [
                f"extends: {ROOT}/hparams/lmac_finetune.yaml\nsize: demo\n",
                *(tiny, widths, explained, "unet_channels: [4, 4, 4, 4]\n"),
                "interpret_period: 2\nnumber_of_epochs: 1\n",
                f"pretrained_interpreter: {folder}/results/lmac\n",
            ]
        )
    )
    return folder


@pytest.fixture
def enhancement_recipe(corpus, tmp_path):
    """A recipe whose training takes a second; results go into its folder."""
    recipe = ROOT / "recipes/SpeechEnhancement/hparams/enhancement.yaml"
    path = tmp_path / "enhancement.yaml"
    path.write_text(f"""
extends: {recipe}
size: demo
data_folder: {corpus / "ESC-50"}
wham_folder: {corpus / "wham_noise"}
ljspeech_folder: {corpus / "LJSpeech-1.1"}
output_folder: !ref {tmp_path}/results/<experiment_name>
explanation_folder: {tmp_path}/explained
cache_folder: {tmp_path}/cache
signal_length_s: 1
hidden_size: 4
mixtures_per_utterance: 2
number_of_epochs: 2
n_explained: 3
n_background: 2
""")
    return path
