"""CNN14 equals SpeechBrain's, stays frozen, and says why a file cannot be loaded."""

import contextlib
import http.server
import json
import re
import shutil
import threading

import pytest
import torch
import torch.nn as nn
from captum.attr import GuidedBackprop, Saliency
from speechbrain.lobes.models.Cnn14 import Cnn14 as SpeechBrainCnn14

from lmac_td.classifiers import weights
from lmac_td.classifiers.cnn14 import LABELS, REPRESENTATIONS, Cnn14, Cnn14Classifier
from lmac_td.contracts import Decision
from lmac_td.errors import CheckpointError
from lmac_td.features import LogMel, SpectralFeatures

WIDTHS = (4, 4, 6, 8, 10)
MELS, EMB_DIM, CLASSES = 32, 12, 5
FEATURES = SpectralFeatures(16000, n_fft=512, win_length=32, hop_length=16)


def small_net():
    return Cnn14(MELS, EMB_DIM, channels=WIDTHS)


def small(channels=WIDTHS, n_classes=CLASSES, revision=None):
    return Cnn14Classifier(
        FEATURES, MELS, channels, EMB_DIM, n_classes, revision=revision
    )


def loaded(source, savedir, classifier=None):
    classifier = classifier or small()
    classifier.load(source, savedir)
    return classifier.freeze()


def randomise(module):
    """Give gains, biases and running statistics values that would show an error."""
    generator = torch.Generator().manual_seed(0)
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            noise = 0.1 * torch.rand(tensor.shape, generator=generator)
            tensor.add_(noise if "weight" not in name else noise - 0.05)
    return module


# --------------------------------------------------------------------- architecture


@pytest.mark.parametrize("norm_type", ["bn", "in", "ln"])
def test_cnn14_is_speechbrains_at_the_published_widths(norm_type):
    theirs = SpeechBrainCnn14(
        mel_bins=40, emb_dim=64, norm_type=norm_type, return_reps=True
    )
    randomise(theirs).eval()
    ours = Cnn14(mel_bins=40, emb_dim=64, norm_type=norm_type).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    log_mel = torch.randn(2, 71, 40)
    with torch.no_grad():
        embedding, reps = ours(log_mel)
        expected, expected_reps = theirs(log_mel)
    torch.testing.assert_close(embedding, expected[:, 0])
    for rep, expected_rep in zip(reps, expected_reps, strict=True):
        torch.testing.assert_close(rep, expected_rep)


def test_gradients_in_training_are_speechbrains():
    theirs = SpeechBrainCnn14(mel_bins=32, emb_dim=16, return_reps=True)
    ours = Cnn14(mel_bins=32, emb_dim=16)
    ours.load_state_dict(theirs.state_dict())
    log_mel = torch.randn(2, 40, 32)
    torch.manual_seed(1)  # the dropouts draw alike
    theirs(log_mel)[0].square().sum().backward()
    torch.manual_seed(1)
    ours(log_mel)[0].square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - expected[name].grad).norm()
        assert error <= 1e-3 * expected[name].grad.norm() + 1e-6, name
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, theirs.get_buffer(name))


def test_representations_are_deepest_first_and_halved_by_each_pooling():
    net = Cnn14(67, EMB_DIM, channels=WIDTHS)
    embedding, reps = net(torch.rand(3, 101, 67))
    assert embedding.shape == (3, EMB_DIM)
    assert [tuple(rep.shape[1:]) for rep in reps] == [
        (12, 3, 2),
        (10, 3, 2),
        (8, 6, 4),
        (6, 12, 8),
    ]
    net.return_reps = False
    assert net(torch.rand(3, 101, 67)).shape == (3, EMB_DIM)


def test_every_activation_is_a_module_used_once():
    net = small_net().eval()
    calls = []
    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    net(torch.rand(1, 32, MELS))
    assert len(calls) == len(set(calls))
    relus = [name for name, m in net.named_modules() if isinstance(m, nn.ReLU)]
    assert len(relus) == 12
    assert {*relus, "max_plus_mean"} <= set(calls)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_backprop_is_not_the_plain_gradient():
    model = randomise(small()).freeze()

    class Logits(nn.Module):
        """Captum hooks the modules below the one it is given."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, log_mel):
            return self.model(log_mel).logits

    log_mel = torch.randn(2, 64, MELS, requires_grad=True)
    plain = Saliency(Logits()).attribute(log_mel, target=1, abs=False)
    guided = GuidedBackprop(Logits()).attribute(log_mel, target=1)
    assert plain.norm() > 0
    assert (guided - plain).norm() > 0.1 * plain.norm()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mel_bins": 31}, "n_mels"),
        ({"channels": (4, 4, 4, 4)}, "channels"),
        ({"norm_type": "none"}, "norm_type"),
    ],
)
def test_settings_that_cannot_work_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        Cnn14(**{"mel_bins": MELS, "emb_dim": EMB_DIM, **arguments})


def test_a_clip_too_short_for_five_poolings_is_followed_by_silence():
    net = small_net().eval()
    short = torch.rand(1, 3, MELS)
    silence = torch.zeros(1, 29, MELS)
    embedding, reps = net(short)
    expected, expected_reps = net(torch.cat([short, silence], dim=1))
    torch.testing.assert_close(embedding, expected)
    for rep, expected_rep in zip(reps, expected_reps, strict=True):
        torch.testing.assert_close(rep, expected_rep)


# --------------------------------------------------------------------------- frozen


def test_decision():
    frozen = small().freeze()
    log_mel = torch.randn(3, 40, MELS)
    decision = frozen(log_mel)
    embedding, reps = frozen.embedding_model(log_mel)
    torch.testing.assert_close(decision.logits, frozen.classifier(embedding))
    torch.testing.assert_close(decision.target, decision.logits.argmax(1))
    torch.testing.assert_close(decision.probabilities, decision.logits.softmax(1))
    for rep, expected in zip(decision.representations, reps, strict=True):
        torch.testing.assert_close(rep.values, expected)
    assert decision.inputs is log_mel
    assert decision.classifier is frozen


def test_inputs_are_log_mel_of_the_stft_magnitude():
    classifier, wavs = small().freeze(), torch.randn(2, 5000)
    magnitude = FEATURES(wavs).magnitude
    expected = LogMel(16000, 512, MELS)(magnitude)
    torch.testing.assert_close(classifier.inputs(wavs), expected)
    torch.testing.assert_close(classifier.inputs_of(wavs), expected)
    assert torch.equal(classifier.inputs_of(magnitude=magnitude), expected)
    assert torch.equal(classifier.inputs_of(wavs, magnitude), expected)
    decision = classifier.decide(wavs)
    torch.testing.assert_close(decision.logits, classifier(expected).logits)


@pytest.mark.parametrize("n_mels", [32, 67, 80])
def test_the_geometry_gives_the_positions_of_the_entries_of_each_block(n_mels):
    """Literal: an entry is centred on the frames, and made of the bands, that were
    pooled into it; bands that no pooling reaches go with the entry beside them."""
    classifier = Cnn14Classifier(FEATURES, n_mels, WIDTHS, EMB_DIM, CLASSES)
    decision = classifier.freeze().decide(torch.randn(1, 40000))
    hop = FEATURES.hop_samples
    assert [rep.name for rep in classifier.geometry] == list(REPRESENTATIONS)
    for geometry, rep, poolings in zip(
        classifier.geometry, decision.representations, (5, 5, 4, 3), strict=True
    ):
        frames = [[frame] for frame in range(3 * 2**poolings)]
        bands = [[band] for band in range(n_mels)]
        for _ in range(poolings):
            frames, bands = (
                [a + b for a, b in zip(x[::2], x[1::2], strict=False)]
                for x in (frames, bands)
            )
        centres = [hop * sum(entry) / len(entry) for entry in frames]
        assert geometry.offset_samples == centres[0]
        assert (
            geometry.hop_samples == centres[1] - centres[0] == centres[2] - centres[1]
        )
        assert rep.geometry is geometry
        assert rep.values.shape[1] == geometry.channels
        assert rep.values.shape[3] == geometry.frequencies == len(bands)
        left_over = range(len(bands) * 2**poolings, n_mels)
        bands[-1] += left_over
        expected = torch.zeros(len(bands), n_mels)
        for entry, members in enumerate(bands):
            expected[entry, members] = 1
        assert torch.equal(geometry.bands, expected)
        of_bins = expected @ classifier.mel.bands_of_bins
        spread = classifier.spread_over_bins(
            torch.eye(len(bands)), geometry, classifier.spectrogram
        )
        torch.testing.assert_close(spread, of_bins)
        torch.testing.assert_close(spread.sum(dim=0), torch.ones(257))


def test_every_parameter_is_in_one_stage():
    classifier = small()
    stages = classifier.stages()
    blocks = [f"conv_block{block}" for block in range(6, 0, -1)]
    assert list(stages) == ["logits", *blocks]
    held = [
        parameter
        for modules in stages.values()
        for module in modules
        for parameter in module.parameters()
    ]
    assert len(held) == len({id(parameter) for parameter in held})
    assert len(held) == len(list(classifier.parameters()))


def test_the_first_class_wins_ties():
    classifier = small()
    nn.init.zeros_(classifier.classifier.weight)
    classifier.classifier.bias.data = torch.tensor([0.0, 2.0, 1.0, 2.0, 2.0])
    decision = classifier.freeze()(torch.rand(2, 32, MELS))
    assert decision.target.tolist() == [1, 1]
    assert isinstance(decision, Decision)


def test_several_inputs_in_one_pass():
    frozen = small().freeze()
    passes = []
    frozen.embedding_model.register_forward_hook(lambda *_: passes.append(1))
    parts = [torch.randn(batch, 40, MELS) for batch in (2, 1, 3)]
    logits = frozen.classify(*parts)
    assert len(passes) == 1
    for part, logit in zip(parts, logits, strict=True):
        torch.testing.assert_close(logit, frozen(part).logits)


def test_training_upstream_leaves_the_classifier_untouched():
    frozen = small().freeze()
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    upstream = nn.Linear(MELS, MELS)
    whole = nn.ModuleDict({"upstream": upstream, "classifier": frozen}).train()
    optimiser = torch.optim.AdamW(whole.parameters(), lr=0.1, weight_decay=0.1)
    weight = upstream.weight.clone()
    for _ in range(2):
        whole.train()
        optimiser.zero_grad()
        logits = frozen(upstream(torch.randn(4, 40, MELS))).logits
        (-logits.log_softmax(1)[:, 0].mean()).backward()
        assert upstream.weight.grad.abs().sum() > 0  # gradients flow through
        optimiser.step()
    assert not torch.equal(upstream.weight, weight)
    assert not any(module.training for module in frozen.modules())
    for name, tensor in frozen.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in frozen.parameters())


# -------------------------------------------------------------------------- loading


@pytest.fixture
def folder(tmp_path):
    """A folder with the two checkpoints of a small classifier."""
    path = tmp_path / "trained"
    path.mkdir()
    save(randomise(small()), path)
    return path


def save(classifier, folder):
    for name in ("embedding_model", "classifier"):
        state = classifier.get_submodule(name).state_dict()
        torch.save(state, folder / f"{name}.ckpt")


class Server(http.server.SimpleHTTPRequestHandler):
    """Serve a folder; ``damage`` changes how the bodies are sent."""

    damage = None
    asked = ()

    def do_GET(self):
        self.asked.append(self.path)
        path = self.translate_path(self.path)
        try:
            with open(path, "rb") as file:
                body = file.read()
        except OSError:
            return self.send_error(404)
        self.send_response(200)
        if self.damage != "unannounced":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.damage is None else body[: len(body) // 2])

    def end_headers(self):
        self.send_header("ETag", f'"{abs(hash(self.path))}"')
        # As the hub answers: the commit that was asked for, or that of the branch.
        asked = re.search("/resolve/([0-9a-f]{40})/", self.path)
        self.send_header("X-Repo-Commit", asked[1] if asked else 40 * "0")
        super().end_headers()

    def log_message(self, *_):
        """Stay silent."""


@contextlib.contextmanager
def serve(directory, damage=None):
    """Yield the loopback address of a folder, and the handler, which notes requests."""
    handler = type("Handler", (Server,), {"damage": damage, "asked": []})

    def build(*arguments):
        return handler(*arguments, directory=str(directory))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), build) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler
        finally:
            server.shutdown()
            thread.join(60)


def assert_loaded(frozen, folder):
    for name in ("embedding_model", "classifier"):
        saved = torch.load(folder / f"{name}.ckpt", weights_only=True)
        for key, tensor in frozen.get_submodule(name).state_dict().items():
            assert torch.equal(tensor, saved[key])
    assert not any(p.requires_grad for p in frozen.parameters())


def checkpoints_below(savedir):
    return [path for path in savedir.rglob("*") if not path.is_dir()]


def test_load_from_a_folder(folder, tmp_path):
    assert_loaded(loaded(folder, tmp_path / "save"), folder)
    assert not (tmp_path / "save").exists()


def test_labels_beside_the_weights_are_read(folder, tmp_path):
    assert loaded(folder, tmp_path).labels == ("0", "1", "2", "3", "4")
    names = ["dog", "rain", "siren", "Türklingel", "sea"]
    (folder / LABELS).write_text(json.dumps(names), encoding="utf-8")
    assert loaded(folder, tmp_path).labels == tuple(names)


@pytest.mark.parametrize("content", ["{", '["dog"]', "[1, 2, 3, 4, 5]", '"dog"'])
def test_labels_that_do_not_fit_are_refused(folder, tmp_path, content):
    (folder / LABELS).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"labels\.json is not a list of 5 names"):
        loaded(folder, tmp_path)


def test_a_folder_that_exists_wins_over_a_hub_id(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    folder.rename(tmp_path / "someone" / "model")
    frozen = loaded("someone/model", tmp_path / "save")
    assert_loaded(frozen, tmp_path / "someone" / "model")


def test_load_from_an_address_once(folder, tmp_path):
    savedir = tmp_path / "save"
    with serve(folder) as (address, handler):
        assert_loaded(loaded(address, savedir), folder)
        assert_loaded(loaded(address + "/", savedir), folder)
        assert len(handler.asked) == 2  # one a file; then they are kept
    names = sorted(path.name for path in checkpoints_below(savedir))
    assert names == ["classifier.ckpt", "embedding_model.ckpt"]


def test_another_address_does_not_use_the_download_of_the_first(folder, tmp_path):
    savedir = tmp_path / "save"
    other = tmp_path / "other"
    other.mkdir()
    save(small(), other)
    with serve(tmp_path) as (address, _):
        loaded(f"{address}/trained", savedir)
        frozen = loaded(f"{address}/other", savedir)
    assert_loaded(frozen, other)


@pytest.mark.parametrize("damage", ["cut", "unannounced"])
def test_a_cut_download_is_not_kept(folder, tmp_path, damage):
    savedir = tmp_path / "save"
    with (
        serve(folder, damage) as (address, handler),
        pytest.raises(CheckpointError, match="pretrained_classifier"),
    ):
        loaded(address, savedir)
    assert checkpoints_below(savedir) == []
    assert len(handler.asked) == 1


def test_an_interrupted_download_is_fetched_again(folder, tmp_path, monkeypatch):
    def interrupted(filename, source, savedir, fetch_config):
        (savedir / filename).write_bytes(b"half")
        raise KeyboardInterrupt

    savedir = tmp_path / "save"
    with serve(folder) as (address, _):
        with monkeypatch.context() as patch:
            patch.setattr("lmac_td.classifiers.weights.fetch", interrupted)
            with pytest.raises(KeyboardInterrupt):
                loaded(address, savedir)
        assert checkpoints_below(savedir) == []
        assert_loaded(loaded(address, savedir), folder)


def test_two_processes_fetch_into_files_of_their_own(folder, tmp_path, monkeypatch):
    """The second begins and ends while the first one is half-way."""
    savedir, places = tmp_path / "save", []

    def slow(filename, source, place, fetch_config):
        places.append(place)
        (place / filename).write_bytes(b"half")
        if len(places) == 1:
            weights.locate(filename, source, savedir)
        assert (place / filename).read_bytes() == b"half"
        return shutil.copy(folder / filename, place / filename)

    monkeypatch.setattr(weights, "fetch", slow)
    path = weights.locate("classifier.ckpt", "someone/model", savedir)
    assert path.read_bytes() == (folder / "classifier.ckpt").read_bytes()
    assert len(set(places)) == 2
    assert checkpoints_below(savedir) == [path]


def test_an_address_without_files(tmp_path):
    with (
        serve(tmp_path) as (address, _),
        pytest.raises(CheckpointError, match=f"{address}.*local folder"),
    ):
        loaded(address, tmp_path / "save")
    with pytest.raises(CheckpointError, match="local folder"):  # no server
        loaded(address, tmp_path / "save")
    assert checkpoints_below(tmp_path / "save") == []


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback whose one repository is someone/model; yields its folder."""
    repository = tmp_path / "hub" / "someone" / "model" / "resolve" / "main"
    repository.mkdir(parents=True)
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve(tmp_path / "hub") as (address, _):
        path = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.ENDPOINT", address)
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", address + path)
        yield repository


def test_load_from_a_hub(folder, hub, tmp_path):
    for path in folder.iterdir():
        (hub / path.name).write_bytes(path.read_bytes())
    frozen = loaded("someone/model", tmp_path / "save")
    assert_loaded(frozen, folder)


def test_a_revision_of_a_hub_is_that_of_its_name(folder, hub, tmp_path):
    first, commit = small(), 40 * "1"
    (hub.parent / commit).mkdir()
    save(first, hub.parent / commit)
    for path in folder.iterdir():
        (hub / path.name).write_bytes(path.read_bytes())
    main = loaded("someone/model", tmp_path / "save")
    pinned = loaded("someone/model", tmp_path / "save", small(revision=commit))
    assert_loaded(main, folder)
    assert_loaded(pinned, hub.parent / commit)
    kept = sorted(path.name for path in (tmp_path / "save").iterdir())
    names = [name.rpartition("-")[0] for name in kept]
    assert names == ["someone_model", f"someone_model@{commit}"]


def test_a_revision_that_a_hub_does_not_have(folder, hub, tmp_path):
    for path in folder.iterdir():
        (hub / path.name).write_bytes(path.read_bytes())
    commit = 40 * "2"
    with pytest.raises(CheckpointError, match=f"someone/model at revision {commit}"):
        loaded("someone/model", tmp_path / "save", small(revision=commit))
    assert checkpoints_below(tmp_path / "save") == []


@pytest.mark.parametrize("source", ["someone/model", "nobody/nothing"])
def test_a_hub_that_does_not_have_it(hub, tmp_path, source):
    with pytest.raises(CheckpointError, match=f"{source}.*local folder"):
        loaded(source, tmp_path / "save")
    assert checkpoints_below(tmp_path / "save") == []


def test_what_is_no_hub_id_is_not_asked_for(tmp_path):
    with pytest.raises(CheckpointError, match="no hub id does not exist: give pretr"):
        loaded("no hub id", tmp_path / "save")


def test_a_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"nobody/nothing.*local folder"):
        loaded("nobody/nothing", tmp_path / "save")
    assert checkpoints_below(tmp_path / "save") == []


def test_a_folder_without_checkpoints(folder, tmp_path):
    (folder / "classifier.ckpt").unlink()
    with pytest.raises(
        CheckpointError, match=r"classifier\.ckpt.*pretrained_classifier.*train_classif"
    ):
        loaded(folder, tmp_path / "save")


def test_a_checkpoint_of_other_widths(folder, tmp_path):
    with pytest.raises(CheckpointError) as error:
        loaded(folder, tmp_path, small(channels=(8, *WIDTHS[1:])))
    for word in (
        "embedding_model.ckpt",
        "conv_block1.conv1.weight",
        "(4, 1, 3, 3)",
        "(8, 1, 3, 3)",
        "cnn14_channels",
        "emb_dim",
        "n_mels",
        "out_n_neurons",
    ):
        assert word in str(error.value)
    with pytest.raises(
        CheckpointError, match=r"classifier\.ckpt.*\(5, 12\).*\(7, 12\)"
    ):
        loaded(folder, tmp_path, small(n_classes=7))
    without_bias = small()
    without_bias.classifier = nn.Linear(EMB_DIM, CLASSES, bias=False)
    with pytest.raises(CheckpointError, match="bias"):  # more, and fewer, keys
        loaded(folder, tmp_path, without_bias)
    torch.save(nn.Linear(EMB_DIM, CLASSES, bias=False).state_dict(), folder / "x")
    (folder / "x").rename(folder / "classifier.ckpt")
    with pytest.raises(CheckpointError, match="no bias"):
        loaded(folder, tmp_path)


class Unsafe:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (print, ("unsafe",))


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "unsafe", "tensor", "list"])
def test_a_corrupt_file(folder, tmp_path, kind, capsys):
    path = folder / "classifier.ckpt"
    whole = path.read_bytes()
    if kind in ("unsafe", "tensor", "list"):
        objects = {"unsafe": Unsafe(), "tensor": torch.ones(2), "list": [1]}
        torch.save(objects[kind], path)
    else:
        bodies = {"empty": b"", "text": b"<html>404</html>", "cut": whole[:-100]}
        path.write_bytes(bodies[kind])
    with pytest.raises(CheckpointError, match=r"classifier\.ckpt"):
        loaded(folder, tmp_path)
    assert path.exists()  # the user's own file is left alone
    assert capsys.readouterr().out == ""


def test_a_path_that_does_not_exist_is_no_hub_id(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist.*train_classifier\.py"):
        loaded("results/cnn14/1234/classifier", tmp_path)
    assert not any(tmp_path.iterdir())
