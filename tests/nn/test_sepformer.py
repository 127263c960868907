"""The mask network is SpeechBrain's Dual_Path_Model, number for number."""

import pytest
import torch
from speechbrain.lobes.models import dual_path

from lmac_td.nn.dual_path import segment
from lmac_td.nn.sepformer import MaskNet

SMALL = {
    "in_channels": 12,
    "out_channels": 8,
    "num_layers": 2,
    "chunk_size": 10,
    "intra_layers": 2,
    "inter_layers": 1,
    "nhead": 2,
    "d_ffn": 20,
}


def speechbrain_model(
    linear=False, skip=True, positions=True, norm_before=True, ffn="relu", norm="ln"
):
    """Build the twin of MaskNet(**SMALL) and give its constants random values."""

    def block(depth):
        return dual_path.SBTransformerBlock(
            num_layers=depth,
            d_model=8,
            nhead=2,
            d_ffn=20,
            dropout=0.0,
            activation=ffn,
            use_positional_encoding=positions,
            norm_before=norm_before,
        )

    model = dual_path.Dual_Path_Model(
        in_channels=12,
        out_channels=8,
        intra_model=block(2),
        inter_model=block(1),
        num_layers=2,
        norm=norm,
        K=10,
        num_spks=1,
        skip_around_intra=skip,
        linear_layer_after_inter_intra=linear,
    ).double()
    with torch.no_grad():  # biases of zero and gains of one would hide errors
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("n_frames", [1, 4, 5, 6, 10, 15, 47, 50])
def test_equals_speechbrain_at_any_length(n_frames):
    check_twin(speechbrain_model(), MaskNet(**SMALL, activation="relu"), n_frames)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"linear": True}, {"linear_layer_after_inter_intra": True}),
        ({"skip": False}, {"skip_around_intra": False}),
        ({"positions": False}, {"use_positional_encoding": False}),
        ({"norm_before": False}, {"norm_before": False}),
        ({"ffn": "gelu"}, {"ffn_activation": "gelu"}),
        ({"norm": "cln"}, {"norm": "cln"}),
    ],
)
def test_equals_speechbrain_with_any_setting(theirs, ours):
    net = MaskNet(**SMALL, activation="relu", **ours)
    check_twin(speechbrain_model(**theirs), net, 33)


def check_twin(theirs, ours, n_frames):
    """Same keys, same output, same gradient of every parameter and of the input."""
    ours.double().load_state_dict(theirs.state_dict(), strict=True)
    h = torch.rand(3, 12, n_frames, dtype=torch.float64)
    inputs = h.clone().requires_grad_(), h.clone().requires_grad_()
    expected, mask = theirs(inputs[0])[0], ours(inputs[1])
    torch.testing.assert_close(mask, expected, rtol=0, atol=1e-10)
    assert expected.abs().max() > 0

    weight = torch.randn_like(mask)
    (expected * weight).sum().backward()
    (mask * weight).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-6, atol=1e-9)
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name].grad, rtol=1e-6, atol=1e-9, msg=name
        )


def test_our_state_dict_loads_in_speechbrain():
    speechbrain_model().load_state_dict(MaskNet(**SMALL).state_dict(), strict=True)


def test_the_mask_is_the_sigmoid_of_the_output():
    net = MaskNet(**SMALL)
    linear = MaskNet(**SMALL)
    linear.load_state_dict(net.state_dict())
    linear.activation = torch.nn.Identity()
    h = torch.rand(2, 12, 23)
    mask = net(h)
    assert mask.shape == h.shape
    assert ((mask > 0) & (mask < 1)).all()
    torch.testing.assert_close(mask, linear(h).sigmoid())


def test_a_mask_does_not_depend_on_the_batch():
    net = MaskNet(**SMALL).double()
    h = torch.rand(4, 12, 37, dtype=torch.float64)
    batch = net(h)
    for clip in range(4):
        alone = net(h[clip : clip + 1])
        torch.testing.assert_close(alone[0], batch[clip], rtol=0, atol=1e-12)


def test_blocks_are_independent():
    net = MaskNet(**SMALL)
    storages = [p.untyped_storage().data_ptr() for p in net.parameters()]
    assert len(set(storages)) == len(storages)
    first, second = (block.intra_mdl.mdl["layers"][0] for block in net.dual_mdl)
    weights = [m.self_att["att"].in_proj_weight for m in (first, second)]
    assert not torch.equal(*weights)  # unlike SpeechBrain's deep copies


def test_attention_weights_are_never_stored():
    # The weights of one head would be chunk_size ** 2 numbers per chunk.
    net = MaskNet(**{**SMALL, "chunk_size": 200, "inter_layers": 0})
    largest = 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        net(torch.rand(1, 12, 1000))
    n_chunks = segment(torch.rand(1, 1000, 1), 200).shape[1]
    assert largest < n_chunks * 200 * 200


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("chunk_size", 9),
        ("chunk_size", 0),
        ("activation", "tanh"),
        ("ffn_activation", "tanh"),
        ("norm", "bn"),
        ("nhead", 3),
    ],
)
def test_settings_that_cannot_work_are_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        MaskNet(**{**SMALL, setting: value})


def test_dropout_acts_in_training_only():
    net = MaskNet(**SMALL, dropout=0.5)
    h = torch.rand(1, 12, 20)
    assert not torch.equal(net(h), net(h))
    net.eval()
    assert torch.equal(net(h), net(h))


def copies(**settings):
    """Build one net that stores its activations and a copy that computes them again."""
    nets = [
        MaskNet(**SMALL, **settings, checkpoint_activations=again)
        for again in (False, True)
    ]
    nets[1].load_state_dict(nets[0].state_dict(), strict=True)
    return nets


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("norm_before", [True, False])
def test_checkpointed_activations_change_no_result(dropout, norm_before):
    h = torch.rand(2, 12, 33, dtype=torch.float64)
    weight = torch.randn_like(h)
    results = []
    for net in copies(dropout=dropout, norm_before=norm_before):
        net.double()
        x = h.clone().requires_grad_()
        torch.manual_seed(1)  # the second pass must draw the dropout of the first
        mask = net(x)
        (mask * weight).sum().backward()
        results.append([mask, x.grad, *(p.grad for p in net.parameters())])
        results[-1].append(torch.rand(3))  # and leave the generator where it was
    for plain, again in zip(*results, strict=True):
        assert torch.equal(plain, again)


def test_checkpointed_activations_are_those_of_autocast():
    h = torch.rand(2, 12, 33)
    gradients = []
    for net in copies():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mask = net(h)
        mask.sum().backward()
        assert mask.dtype == torch.float32
        gradients.append([p.grad for p in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_checkpointed_activations_are_not_saved():
    saved = [bytes_saved(net, torch.rand(1, 12, 400)) for net in copies()]
    assert saved[1] < 0.4 * saved[0]


def bytes_saved(net, h):
    """Count the bytes that a pass stores for its backward pass, without parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = net(h)
    assert output.requires_grad
    return sum(kept.values())


def test_nothing_is_checkpointed_without_gradients(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("there is no backward pass")

    monkeypatch.setattr("lmac_td.nn.transformer.checkpoint", refuse)
    plain, again = copies()
    h = torch.rand(1, 12, 33)
    with torch.no_grad():
        assert torch.equal(plain(h), again(h))
    with pytest.raises(AssertionError, match="no backward pass"):
        again(h)


def test_a_mask_of_half_precision_adds_up_with_its_complement():
    net = MaskNet(**SMALL)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mask = net(torch.rand(2, 12, 33))
    assert mask.dtype == torch.float32
    assert net.double()(torch.rand(1, 12, 33).double()).dtype == torch.float64
