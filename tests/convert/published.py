"""Checkpoints of the published shapes, made of SpeechBrain's modules, narrow."""

from pathlib import Path

import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.lobes.models import dual_path
from speechbrain.lobes.models.Cnn14 import CNN14PSI, Cnn14, CNN14PSI_stft, ConvBlock
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.L2I import NMFDecoderAudio
from torch import nn

# The published decoders need blocks that double their channels.
WIDTHS, DIM = (2, 2, 2, 4, 8), 16
LABELS = ("rain", "dog", "Türklingel")
CHECKPOINT = "CKPT+2024-06-20+16-05-44+00"
N_FILTERS, KERNEL, CHANNELS = 24, 16, 8


def randomise(module):
    """Give a module weights with which all its parts count; in evaluation mode."""
    for name, tensor in module.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and not name.endswith("pe"):
            tensor.add_(0.2 * torch.randn_like(tensor))
    return module.eval()


def embedding_model(n_mels=80):
    """SpeechBrain's CNN14 with narrow blocks."""
    model = Cnn14(n_mels, DIM, return_reps=True)
    widths = (1, *WIDTHS, DIM)
    for block in range(1, 7):
        layer = ConvBlock(widths[block - 1], widths[block], norm_type="bn")
        setattr(model, f"conv_block{block}", layer)
    return randomise(model)


def save(module, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
    return module


def save_labels(path, labels=LABELS):
    """As SpeechBrain's trainings save the labels: in the order of the first clips."""
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(labels)
    encoder.save(path)


def save_classifier(folder, cosine=False, labels=LABELS):
    """The two files of the hub; returns both modules."""
    n_classes = len(labels or LABELS)
    embedding = save(embedding_model(), folder / "embedding_model.ckpt")
    if cosine:
        head = CosineHead(DIM, lin_blocks=1, lin_neurons=6, out_neurons=n_classes)
    else:
        head = nn.Linear(DIM, n_classes)
    save(randomise(head), folder / "classifier.ckpt")
    if labels:
        save_labels(folder / "label_encoder.txt", labels)
    return embedding, head


class ReleasedUNet(nn.Module):
    """The nine transposed convolutions of the authors' release, all frames."""

    def __init__(self, dim=DIM):
        super().__init__()
        up = nn.ConvTranspose2d
        self.convt1 = up(dim, dim // 4, 7, (3, 2), 1)
        self.convt2 = up(dim // 2, dim // 4, 7, (3, 2), 1)
        self.convt3 = up(dim // 4, dim // 4, (12, 11), (3, 2), 1)
        self.convt4 = up(dim // 4, dim // 4, (7, 7), (5, 4), 1)
        self.convt5 = up(dim // 4, dim // 8, 7, (2, 2), 1)
        self.convt6 = up(dim // 8, dim // 8, (7, 11), (5, 4), (2, 1))
        self.convt7 = up(dim // 8, dim // 8, (4, 3), (2, 2), (0, 5))
        self.convt8 = up(dim // 8, dim // 16, (10, 7), (3, 1), (4, 2))
        self.convt9 = up(dim // 16, 1, (8, 10), (7, 3), 0)

    def forward(self, reps):
        h = self.convt1(reps[0]).relu() + self.convt2(reps[1]).relu()
        h = self.convt3(h).relu() + self.convt4(reps[2]).relu()
        h = self.convt5(h).relu() + self.convt6(reps[3]).relu()
        return self.convt9(self.convt8(self.convt7(h).relu()))


def mask_network(intra_heads=2, inter_heads=4):
    """SpeechBrain's dual-path model with the sigmoid of the release."""

    def transformer(depth, nhead):
        return dual_path.SBTransformerBlock(
            num_layers=depth, d_model=CHANNELS, nhead=nhead, d_ffn=12, dropout=0.0,
            use_positional_encoding=True, norm_before=True,
        )  # fmt: skip

    model = dual_path.Dual_Path_Model(
        in_channels=N_FILTERS,
        out_channels=CHANNELS,
        intra_model=transformer(2, intra_heads),
        inter_model=transformer(1, inter_heads),
        num_layers=2,
        norm="ln",
        K=100,
        num_spks=1,
        skip_around_intra=True,
        linear_layer_after_inter_intra=False,
    )
    model.activation = nn.Sigmoid()
    return randomise(model)


HYPERPARAMS = """\
# Generated from: recipes/ESC50/interpret/hparams/lmactd_cnn14.yaml
seed: 44
__set_seed: !!python/object/apply:torch.manual_seed [44]
alpha_mix: 0.5
sample_rate: 16000
signal_length_s: 5
n_fft: 1024
compute_stft: &id001 !new:speechbrain.processing.features.STFT
  n_fft: 1024
  hop_length: 11.6099
  win_length: 23.2199
  sample_rate: 16000
SBtfintra: &id002 !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
  num_layers: 2
  nhead: 2
SBtfinter: &id003 !new:speechbrain.lobes.models.dual_path.SBTransformerBlock
  num_layers: 1
  nhead: 4
MaskNet: !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
  K: 100
  intra_model: *id002
  inter_model: *id003
"""


def save_lmac_td(output):
    """The output folder of a training of LMAC-TD; returns its modules by file."""
    folder = Path(output) / "save" / CHECKPOINT
    modules = {
        "encoder": dual_path.Encoder(KERNEL, N_FILTERS),
        "decoder": dual_path.Decoder(N_FILTERS, 1, KERNEL, stride=8, bias=False),
        "convt_decoder": ReleasedUNet(),
        "masknet": mask_network(),
    }
    for name, module in modules.items():
        save(randomise(module), folder / f"{name}.ckpt")
    (Path(output) / "hyperparams.yaml").write_text(HYPERPARAMS, encoding="utf-8")
    return folder, modules


def save_lmac(output, mel=False):
    """The checkpoint of a training of L-MAC; returns its folder and decoder."""
    folder = Path(output) / "save" / CHECKPOINT
    decoder = CNN14PSI(DIM) if mel else CNN14PSI_stft(DIM)
    return folder, save(randomise(decoder), folder / "psi_model.ckpt")


def save_nmf(path, n_freq=513, n_comp=7):
    """A dictionary with negative entries, which count as 0, and a dead pattern."""
    decoder = NMFDecoderAudio(n_comp, n_freq, device="cpu")
    with torch.no_grad():
        decoder.W.sub_(0.02)
        decoder.W[:, 2] = -1
    return save(decoder, path)
