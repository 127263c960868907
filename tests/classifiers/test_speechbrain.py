"""SpeechBrain's EncoderClassifier decides as by SpeechBrain, with gradients."""

import copy
import shutil
from pathlib import Path

import huggingface_hub.errors
import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.inference.classifiers import EncoderClassifier

from lmac_td.classifiers import speechbrain_sources
from lmac_td.classifiers.check import check_classifier
from lmac_td.classifiers.speechbrain import SpeechBrainClassifier
from lmac_td.errors import CheckpointError, SettingError
from lmac_td.features import SpectralFeatures

ROOT = Path(__file__).parents[2]
LABELS = ["yes", "no", "up", "down"]
N_MELS = 16
WAVS = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(5))

# As the yaml of a model on the hub.
ECAPA = """
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 16
    channels: [8, 8, 8, 8, 12]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 4
    res2net_scale: 2
    se_channels: 4
    lin_neurons: 6
"""
XVECTOR = """
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: 16
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 5
    tdnn_channels: [8, 8, 8, 8, 12]
    tdnn_kernel_sizes: [5, 3, 3, 1, 1]
    tdnn_dilations: [1, 2, 3, 1, 1]
    lin_neurons: 6
"""
REST = """
pretrained_path: {pretrained_path}
sample_rate: 16000

compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 16
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: {norm_type}
    std_norm: {std_norm}
classifier: {classifier}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder

modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        {norm_loadable}embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        {norm_path}embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""
LOG_POSTERIORS = """!new:speechbrain.lobes.models.Xvector.Classifier
    input_shape: [null, null, 6]
    lin_blocks: 1
    lin_neurons: 6
    out_neurons: 4"""
COSINES = """!new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 6
    out_neurons: 4"""
NORM = {
    "norm_loadable": "mean_var_norm: !ref <mean_var_norm>\n        ",
    "norm_path": "mean_var_norm: !ref <pretrained_path>/mean_var_norm.ckpt\n        ",
}


def save_model(
    folder,
    embedding=ECAPA,
    norm_type="sentence",
    classifier=COSINES,
    std_norm=False,
):
    """What a training leaves and the hub serves: yaml, weights and labels."""
    folder.mkdir()
    settings = {
        "norm_type": norm_type,
        "std_norm": std_norm or norm_type == "global",
        "classifier": classifier,
        "norm_loadable": "", "norm_path": "",
        **(NORM if norm_type == "global" else {}),
    }  # fmt: skip
    # It names the hub, where there is no such model.
    yaml = embedding + REST.format(pretrained_path="nobody/nothing", **settings)
    (folder / "hyperparams.yaml").write_text(yaml)
    torch.manual_seed(1)
    hparams = load_hyperpyyaml(yaml)
    modules = hparams["modules"]
    spread_statistics(modules)
    for name in ("embedding_model", "classifier"):
        torch.save(modules[name].state_dict(), folder / f"{name}.ckpt")
    if norm_type == "global":
        modules["mean_var_norm"](modules["compute_features"](WAVS))
        modules["mean_var_norm"]._save(folder / "mean_var_norm.ckpt")
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS, sequence_input=False)
    encoder.save(folder / "label_encoder.txt")
    return folder


def spread_statistics(modules):
    """Statistics of BatchNorm as a training leaves them, so that modes matter."""
    for module in torch.nn.ModuleDict(modules).modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)


@pytest.fixture(scope="module")
def ecapa_folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("ecapa") / "model")


@pytest.fixture
def ecapa(ecapa_folder):
    return SpeechBrainClassifier(ecapa_folder)


MODELS = [
    ("ECAPA, cosines", ECAPA, "sentence", COSINES),
    ("x-vector, log posteriors", XVECTOR, "sentence", LOG_POSTERIORS),
    ("ECAPA, global statistics", ECAPA, "global", LOG_POSTERIORS),
]


@pytest.mark.parametrize("model", MODELS, ids=[model[0] for model in MODELS])
def test_it_decides_as_speechbrain_and_each_clip_for_itself(model, tmp_path):
    folder = save_model(tmp_path / "model", *model[1:])
    encoder = EncoderClassifier.from_hparams(
        source=str(folder),
        overrides={"pretrained_path": str(folder)},
        run_opts={"device": "cpu"},
    )
    scores, _, index, labels = encoder.classify_batch(WAVS)
    classifier = SpeechBrainClassifier(folder).freeze()
    decision = classifier.decide(WAVS)
    expected = scores.softmax(dim=-1)
    torch.testing.assert_close(decision.probabilities, expected, atol=1e-5, rtol=0)
    if model[3] == LOG_POSTERIORS:
        torch.testing.assert_close(expected, scores.exp())
    assert torch.equal(decision.target, index)
    assert [classifier.labels[i] for i in decision.target] == labels
    for clip, logits in zip(WAVS, decision.logits, strict=True):
        alone = classifier.decide(clip.unsqueeze(0)).logits[0]
        torch.testing.assert_close(alone, logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=[model[0] for model in MODELS])
def test_it_passes_the_check_at_loading(model, tmp_path):
    classifier = SpeechBrainClassifier(save_model(tmp_path / "model", *model[1:]))
    features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    assert check_classifier(classifier, features, 16000) == []


@pytest.mark.parametrize("std_norm", [False, True])
def test_gradients_at_digital_silence_are_finite_without_dither(std_norm, tmp_path):
    """SpeechBrain's filterbank clamps before its logarithm."""
    folder = save_model(tmp_path / "model", std_norm=std_norm)
    classifier = SpeechBrainClassifier(folder)
    silence = torch.zeros(1, 16000, requires_grad=True)
    classifier.decide(silence).logits[0, 0].backward()
    assert silence.grad.isfinite().all()
    features = SpectralFeatures(16000, 1024, 23.2199, 11.6099)
    assert check_classifier(classifier, features, 16000) == []


def test_a_copy_decides_the_same(ecapa):
    twin = copy.deepcopy(ecapa)
    assert torch.equal(twin.decide(WAVS).logits, ecapa.decide(WAVS).logits)


def test_labels_and_rate_are_those_of_the_folder(ecapa):
    assert ecapa.labels == tuple(LABELS)
    assert ecapa.sample_rate == 16000
    assert ecapa.activation == "softmax"
    assert "ECAPA_TDNN" in ecapa.name


def test_gradients_reach_the_waveform(ecapa):
    wavs = WAVS.clone().requires_grad_()
    ecapa.decide(wavs).logits[:, 0].sum().backward()
    assert wavs.grad.isfinite().all()
    assert wavs.grad.abs().amax(dim=1).min() > 0
    assert all(parameter.grad is None for parameter in ecapa.parameters())


@pytest.mark.parametrize("embedding", [ECAPA, XVECTOR], ids=["ECAPA", "x-vector"])
def test_nothing_is_drawn_and_two_calls_agree(embedding, tmp_path):
    folder = save_model(tmp_path / "model", embedding)
    state = torch.get_rng_state()
    classifier = SpeechBrainClassifier(folder)
    first, second = classifier.decide(WAVS), classifier.decide(WAVS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.logits, second.logits)


def test_it_is_frozen_and_global_statistics_do_not_change(tmp_path):
    folder = save_model(tmp_path / "model", ECAPA, "global", LOG_POSTERIORS)
    classifier = SpeechBrainClassifier(folder)
    norm = classifier.mean_var_norm
    before = norm.glob_mean.clone(), norm.glob_std.clone(), norm.count
    classifier.train()
    classifier.decide(5 * WAVS)
    assert torch.equal(norm.glob_mean, before[0])
    assert torch.equal(norm.glob_std, before[1])
    assert norm.count == before[2]
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_a_classifier_that_is_loaded_already_is_wrapped(ecapa_folder, ecapa):
    encoder = EncoderClassifier.from_hparams(
        source=str(ecapa_folder),
        overrides={"pretrained_path": str(ecapa_folder)},
        run_opts={"device": "cpu"},
    )
    wrapped = SpeechBrainClassifier(encoder)
    assert wrapped.embedding_model is encoder.mods["embedding_model"]
    assert torch.equal(wrapped.decide(WAVS).logits, ecapa.decide(WAVS).logits)


def test_the_scale_of_the_loss_sharpens_cosines(ecapa_folder, ecapa):
    sharp = SpeechBrainClassifier(ecapa_folder, logit_scale=30)
    logits, expected = sharp.decide(WAVS).logits, 30 * ecapa.decide(WAVS).logits
    torch.testing.assert_close(logits, expected)
    with pytest.raises(SettingError, match="logit_scale is 0"):
        SpeechBrainClassifier(ecapa_folder, logit_scale=0)


# Representations.


def test_by_default_the_blocks_are_representations(ecapa):
    assert [
        (g.name, g.channels, g.frequencies, g.hop_samples, g.offset_samples)
        for g in ecapa.geometry
    ] == [(f"blocks.{k}", 8, 1, 160, 0) for k in (3, 2, 1, 0)]
    values = ecapa.decide(WAVS).representations[0].values
    assert values.shape == (3, 8, 101, 1)


def test_an_xvector_has_its_normalisations_as_representations(tmp_path):
    folder = save_model(tmp_path / "model", XVECTOR, "sentence", LOG_POSTERIORS)
    classifier = SpeechBrainClassifier(folder)
    assert [(g.name, g.channels, g.hop_samples) for g in classifier.geometry] == [
        ("blocks.14", 12, 160),
        ("blocks.11", 8, 160),
        ("blocks.8", 8, 160),
        ("blocks.5", 8, 160),
    ]
    assert classifier.decide(WAVS).representations[0].values.shape == (3, 12, 101, 1)


def test_an_entry_is_centred_on_its_frame(ecapa):
    """A click changes the entry at its time first, and most."""
    wavs = torch.zeros(2, 16000)
    wavs[0, 8000] = 1.0
    features = ecapa.compute_features(wavs)  # not normalised: silence stays flat
    click, silence = ecapa(features).representations[-1].values
    geometry = ecapa.geometry[-1]
    energy = (click - silence).square().sum(dim=(0, 2))
    centre = (energy * torch.arange(len(energy))).sum() / energy.sum()
    sample = geometry.offset_samples + centre * geometry.hop_samples
    assert abs(sample - 8000) <= geometry.hop_samples


def test_an_entry_of_several_frames_is_centred_on_them(ecapa_folder):
    class Pooled(torch.nn.Module):
        def __init__(self, embedding_model):
            super().__init__()
            self.pool = torch.nn.AvgPool2d((4, 1))
            self.embedding_model = embedding_model

        def forward(self, features, lengths):
            return self.embedding_model(self.pool(features), lengths)

    encoder = loaded(ecapa_folder)
    encoder.mods["embedding_model"] = Pooled(encoder.mods["embedding_model"])
    (pool,) = SpeechBrainClassifier(encoder).geometry  # its one child that keeps time
    assert (pool.name, pool.channels, pool.hop_samples) == ("pool", N_MELS, 640)
    assert pool.offset_samples == (0 + 160 + 320 + 480) / 4


def test_representations_are_named(ecapa_folder):
    classifier = SpeechBrainClassifier(
        ecapa_folder,
        representations={"mfa": {"offset_samples": 40}, "blocks.1": None},
    )
    first, second = classifier.geometry
    assert (first.name, first.channels, first.offset_samples) == ("mfa", 12, 40)
    assert (second.name, second.channels, second.offset_samples) == ("blocks.1", 8, 0)


def test_no_representations_are_possible(ecapa_folder):
    classifier = SpeechBrainClassifier(ecapa_folder, representations=[])
    assert classifier.geometry == ()
    assert classifier.decide(WAVS).representations == ()


def test_a_module_that_is_not_there_is_refused(ecapa_folder):
    with pytest.raises(
        SettingError, match=r"blocks\.9 of ECAPA_TDNN is not one of its"
    ):
        SpeechBrainClassifier(ecapa_folder, representations=["blocks.9"])


def test_stages_hold_every_parameter_once_from_the_head_on(ecapa):
    stages = ecapa.stages()
    names = list(stages)
    assert names[:2] == ["classifier", "fc"]
    assert names[-1] == "blocks.0"
    staged = [p for ms in stages.values() for m in ms for p in m.parameters()]
    assert len(staged) == len(set(staged)) == len(list(ecapa.parameters()))


# What does not fit.


class TwoValues(torch.nn.Module):
    """An embedding model that returns representations beside the embedding."""

    def __init__(self, embedding_model):
        super().__init__()
        self.embedding_model = embedding_model

    def forward(self, features, lengths):
        return self.embedding_model(features, lengths), (features,)


def loaded(folder):
    return EncoderClassifier.from_hparams(
        source=str(folder),
        overrides={"pretrained_path": str(folder)},
        run_opts={"device": "cpu"},
    )


def test_an_embedding_model_that_returns_two_values_is_refused(ecapa_folder):
    encoder = loaded(ecapa_folder)
    encoder.mods["embedding_model"] = TwoValues(encoder.mods["embedding_model"])
    with pytest.raises(
        SettingError, match="embedding_model returns a tuple for 2 clips"
    ):
        SpeechBrainClassifier(encoder)


def test_an_embedding_that_lost_its_batch_axis_is_refused(ecapa_folder):
    """The first clip of two unpacks from one tensor without an error."""

    class Unpacked(torch.nn.Module):
        def __init__(self, embedding_model):
            super().__init__()
            self.embedding_model = embedding_model

        def forward(self, features, lengths):
            embedding, _ = self.embedding_model(features, lengths)
            return embedding

    encoder = loaded(ecapa_folder)
    encoder.mods["embedding_model"] = Unpacked(encoder.mods["embedding_model"])
    message = r"embedding_model returns \(1, 6\) for 2 clips"
    with pytest.raises(SettingError, match=message):
        SpeechBrainClassifier(encoder)


def test_scores_of_frames_are_refused(ecapa_folder):
    encoder = loaded(ecapa_folder)
    encoder.mods["classifier"] = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Unflatten(2, (2, 4)), torch.nn.Flatten(1, 2)
    )
    message = r"classifier returns \(2, 2, 4\) for 2 clips"
    with pytest.raises(SettingError, match=message):
        SpeechBrainClassifier(encoder)


def test_a_normalisation_over_the_batch_is_refused(ecapa_folder):
    encoder = loaded(ecapa_folder)
    encoder.mods["mean_var_norm"].norm_type = "batch"
    with pytest.raises(
        SettingError, match="norm_type of its mean_var_norm to sentence"
    ):
        SpeechBrainClassifier(encoder)


def test_modules_that_are_missing_are_named(ecapa_folder):
    encoder = loaded(ecapa_folder)
    del encoder.mods["classifier"]
    with pytest.raises(SettingError, match="has no classifier among its modules"):
        SpeechBrainClassifier(encoder)


def test_a_label_encoder_of_other_classes_is_refused(ecapa_folder):
    encoder = loaded(ecapa_folder)
    encoder.hparams.label_encoder.add_label("left")
    with pytest.raises(SettingError, match=r"has 5 labels, .* has 4 classes"):
        SpeechBrainClassifier(encoder)


def test_without_a_label_encoder_classes_are_numbered(ecapa_folder):
    encoder = loaded(ecapa_folder)
    del encoder.hparams.label_encoder
    assert SpeechBrainClassifier(encoder).labels == ("0", "1", "2", "3")


def test_modules_that_do_not_fit_into_each_other_are_one_sentence(ecapa_folder):
    encoder = loaded(ecapa_folder)
    encoder.mods["classifier"] = torch.nn.Linear(7, 4)
    with pytest.raises(SettingError, match="cannot take 16000 samples of noise"):
        SpeechBrainClassifier(encoder)


@pytest.mark.parametrize("source", ["results/no/such/folder", "/nowhere", "./nowhere"])
def test_a_folder_that_is_missing_is_refused(source):
    with pytest.raises(CheckpointError, match=f"{source} does not exist: give"):
        SpeechBrainClassifier(source)


def test_a_folder_without_a_yaml_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no hyperparams\.yaml"):
        SpeechBrainClassifier(tmp_path)


def test_a_file_that_is_missing_is_refused(ecapa_folder, tmp_path):
    folder = shutil.copytree(ecapa_folder, tmp_path / "model")
    (folder / "classifier.ckpt").unlink()
    with pytest.raises(CheckpointError, match="could not be loaded") as caught:
        SpeechBrainClassifier(folder)
    assert "classifier.ckpt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_other_widths_are_refused(ecapa_folder, tmp_path):
    folder = shutil.copytree(ecapa_folder, tmp_path / "model")
    yaml = folder / "hyperparams.yaml"
    yaml.write_text(yaml.read_text().replace("out_neurons: 4", "out_neurons: 5"))
    with pytest.raises(CheckpointError, match=r"could not be loaded \(RuntimeError"):
        SpeechBrainClassifier(folder)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch, tmp_path):
    asked = {}

    def unreachable(filename, source, savedir=None, **settings):
        asked.update(source=source, savedir=savedir)
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\n at all")

    monkeypatch.setattr(speechbrain_sources, "fetch", unreachable)
    with pytest.raises(CheckpointError) as caught:
        SpeechBrainClassifier("speechbrain/some-model", savedir=tmp_path)
    assert str(caught.value) == (
        "pretrained_classifier: speechbrain/some-model could not be downloaded or "
        "loaded (LocalEntryNotFoundError: no connection at all): check the name and "
        "the network, or give a local folder"
    )
    # Another model's files are never taken for those of this one.
    folder = Path(asked["savedir"])
    assert folder.parent == tmp_path
    assert folder.name.startswith("speechbrain_some-model-")


# Models that are not on this disk.


@pytest.fixture
def hub(ecapa_folder, monkeypatch, tmp_path):
    """A hub that has one model, ``owner/model``; returns its folder."""
    folder = shutil.copytree(ecapa_folder, tmp_path / "on the hub")

    def download(repo_id, filename, **_):
        assert repo_id == "owner/model"
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    yaml = folder / "hyperparams.yaml"
    yaml.write_text(yaml.read_text().replace("nobody/nothing", "owner/model"))
    return folder


def test_a_model_of_the_hub_is_opened_as_networks_and_settings(hub, tmp_path, caplog):
    classifier = SpeechBrainClassifier("owner/model", savedir=tmp_path / "kept")
    assert classifier.labels == tuple(LABELS)
    assert "no code of its own" in caplog.text


CODE = [
    "evil: !apply:pathlib.Path.touch [!new:pathlib.Path [{marker}]]",
    "evil: !new:pathlib.Path [x]",
    "evil: !name:os.system",
    "evil: !applyref:os.getcwd",
    "evil: !include:other.yaml",
    "evil: !module:os",
    "evil: !!python/object/apply:os.getcwd []",
    "evil: [{{a: !new:subprocess.Popen [touch, {marker}]}}]",
    "? !apply:os.getcwd []\n: 1",
    "evil: !apply:torch.load [{marker}]",
    "evil: !apply:torch.hub.load [a/b, c]",
    "evil: !new:torch.nn.modules.module.OrderedDict",
    "evil: !name:torch.nn.functional.importlib.import_module",
    "evil: !new:speechbrain.lobes.models.fairseq_wav2vec.FairseqWav2Vec2",
    "evil: !new:speechbrain.lobes.models.huggingface_transformers.wav2vec2.Wav2Vec2",
    "evil: !apply:speechbrain.utils.superpowers.run_shell [touch {marker}]",
    "evil: !new:torch.nn.Linear.__init__.__globals__",
    "evil: [unclosed",
]


@pytest.mark.parametrize("line", CODE)
def test_a_model_of_the_hub_that_runs_code_is_refused(hub, tmp_path, line):
    marker = tmp_path / "executed"
    yaml = hub / "hyperparams.yaml"
    yaml.write_text(f"{yaml.read_text()}\n{line.format(marker=marker)}\n")
    with pytest.raises(SettingError, match=r"trust_remote_code|cannot be read"):
        SpeechBrainClassifier("owner/model", savedir=tmp_path / "kept")
    assert not marker.exists()


def test_a_user_may_trust_a_model_of_the_hub(hub, tmp_path):
    marker = tmp_path / "executed"
    yaml = hub / "hyperparams.yaml"
    yaml.write_text(f"{yaml.read_text()}\n{CODE[0].format(marker=marker)}\n")
    SpeechBrainClassifier(
        "owner/model", savedir=tmp_path / "kept", trust_remote_code=True
    )
    assert marker.exists()


def test_weights_of_the_hub_execute_nothing(hub, tmp_path, monkeypatch):
    """Nor if an environment variable of torch allows it."""
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return Path.touch, (marker,)

    torch.save({"a": Evil()}, hub / "classifier.ckpt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match="could not be"):
        SpeechBrainClassifier("owner/model", savedir=tmp_path / "kept")
    assert not marker.exists()


def test_an_address_must_be_encrypted(tmp_path):
    with pytest.raises(SettingError, match="begins with https://"):
        SpeechBrainClassifier("http://example.org/model", savedir=tmp_path)


# In a recipe.


def test_the_overlay_builds_it(ecapa_folder, tmp_path):
    overlay = (ROOT / "hparams/classifiers/speechbrain.yaml").read_text()
    hparams = load_hyperpyyaml(
        f"cache_folder: {tmp_path}\n{overlay}",
        overrides={"pretrained_classifier": str(ecapa_folder)},
    )
    classifier = hparams["classifier"]
    assert isinstance(classifier, SpeechBrainClassifier)
    assert classifier.labels == tuple(LABELS)
    classifier.load(ecapa_folder, tmp_path)  # nothing is left to load
