"""The published implementation of LMAC-TD: SpeechBrain's modules and recipe.

Its mask network, encoder, decoder, classifier and front end are those of the installed
SpeechBrain; its U-Net has the nine transposed convolutions of the release. All have the
published sizes and the state-dict keys of
:class:`lmac_td.interpreters.lmac_td.LMACTD` and
:class:`lmac_td.classifiers.cnn14.Cnn14Classifier`, so both sides start from the same
weights. As in the published recipe, attention maps are computed and kept; the kept and
the removed sound are classified one after the other; an evaluation batch is explained
three times; the optimiser is PyTorch's Adam without fusion. Unlike in the published
recipe, the frames are those of :class:`lmac_td.nn.filterbank.Filterbank` and the loss
is that of this project (means over bins, the decided class as the target), so that all
results can be compared exactly.
"""

from collections.abc import Sequence
from typing import Any

import speechbrain as sb
import torch
from speechbrain.lobes.models import dual_path
from speechbrain.lobes.models.Cnn14 import Cnn14, ConvBlock
from speechbrain.processing.features import STFT, Filterbank, spectral_magnitude
from torch import Tensor, nn
from torch.nn import functional as F

from lmac_td.classifiers.cnn14 import Cnn14Classifier
from lmac_td.interpreters.lmac_td import LMACTD
from lmac_td.metrics.confidence import of_class
from lmac_td.nn.published import PublishedUNet


class PlainUNet(PublishedUNet):
    """The release's decoder of representations; it computes all frames, then cuts."""

    def forward(self, reps: Sequence[Tensor], n_frames: int, n_channels: int) -> Tensor:
        """Decode four representations, deepest first, to (B, n_channels, n_frames)."""
        h = F.relu(self.convt1(reps[0])) + F.relu(self.convt2(reps[1]))
        h = F.relu(self.convt3(h)) + F.relu(self.convt4(reps[2]))
        h = F.relu(self.convt5(h)) + F.relu(self.convt6(reps[3]))
        h = self.convt9(self.convt8(F.relu(self.convt7(h)))).squeeze(1)
        return h[:, :n_frames, :n_channels].transpose(1, 2)


def mask_network(hparams: dict) -> nn.Module:
    """Return SpeechBrain's dual-path model, with a sigmoid as in the release."""

    def transformer(depth: int) -> nn.Module:
        return dual_path.SBTransformerBlock(
            num_layers=depth,
            d_model=hparams["masknet_channels"],
            nhead=hparams["nhead"],
            d_ffn=hparams["d_ffn"],
            dropout=0.0,
            use_positional_encoding=True,
            norm_before=True,
        )

    model = dual_path.Dual_Path_Model(
        in_channels=hparams["encoder_channels"],
        out_channels=hparams["masknet_channels"],
        intra_model=transformer(hparams["intra_layers"]),
        inter_model=transformer(hparams["inter_layers"]),
        num_layers=hparams["masknet_layers"],
        norm="ln",
        K=hparams["chunk_size"],
        num_spks=1,
        skip_around_intra=True,
        linear_layer_after_inter_intra=False,
    )
    model.activation = nn.Sigmoid()
    return model


def classifier_network(hparams: dict) -> nn.Module:
    """Return SpeechBrain's CNN14 with the widths of a recipe."""
    model = Cnn14(hparams["n_mels"], hparams["emb_dim"], return_reps=True)
    widths = (1, *hparams["cnn14_channels"], hparams["emb_dim"])
    for block in range(1, 7):
        layer = ConvBlock(widths[block - 1], widths[block], norm_type="bn")
        setattr(model, f"conv_block{block}", layer)
    return model


class PublishedInterpreter(nn.Module):
    """U-Net, encoder, mask network and decoder.

    Arguments
    ---------
    hparams : dict
        The recipe ``hparams/lmac_td_published.yaml``.
    """

    def __init__(self, hparams: dict):
        super().__init__()
        self.alpha = hparams["alpha"]
        n_filters, kernel = hparams["encoder_channels"], hparams["kernel_size"]
        self.stride = kernel // 2
        self.filterbank = nn.Module()
        self.filterbank.encoder = dual_path.Encoder(kernel, n_filters)
        self.filterbank.decoder = dual_path.Decoder(
            n_filters, 1, kernel, stride=self.stride, bias=False
        )
        self.filterbank.requires_grad_(hparams["train_filterbank"])
        self.unet = PlainUNet(hparams["emb_dim"])
        self.masknet = mask_network(hparams)

    def forward(self, wavs: Tensor, reps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mask and the encoded sound, (B, N, T') each, of wavs (B, T)."""
        right = -wavs.shape[1] % self.stride + self.stride
        h_e = self.filterbank.encoder(F.pad(wavs, (self.stride, right)))
        h_d = self.unet(reps, h_e.shape[2], h_e.shape[1])
        return self.masknet(self.alpha * h_d + (1 - self.alpha) * h_e)[0], h_e

    def decode(self, h: Tensor, n_samples: int) -> Tensor:
        """Decode h (B, N, T') to sound (B, T)."""
        wavs = self.filterbank.decoder(h).view(len(h), -1)  # undoes a squeeze
        return wavs[:, self.stride : self.stride + n_samples]


class PublishedBrain(sb.Brain):
    """Trains and evaluates like the published recipe, with this project's loss.

    ``modules`` has ``interpreter`` and SpeechBrain's frozen ``embedding_model`` and
    ``classifier``; ``hparams`` is that of the recipe.
    """

    def spectra(self, wavs: Tensor) -> tuple[Tensor, Tensor]:
        """Return |STFT| and log1p-mel of wavs (B, T), by SpeechBrain's modules."""
        magnitude = self.magnitude(wavs)
        return magnitude, torch.log1p(self.hparams.compute_fbank(magnitude))

    def magnitude(self, wavs: Tensor) -> Tensor:
        """Return |STFT| of wavs (B, T)."""
        return spectral_magnitude(self.hparams.compute_stft(wavs), power=0.5)

    def classify(self, log_mel: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """Return logits (B, C) and representations."""
        embedding, reps = self.modules.embedding_model(log_mel)
        return self.modules.classifier(embedding).flatten(1), reps

    def interpret(
        self, wavs: Tensor, reps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the kept and the removed sound, (B, T) each, and the mask."""
        mask, h_e = self.modules.interpreter(wavs, reps)
        interpreter = self.modules.interpreter
        kept = interpreter.decode(mask * h_e, wavs.shape[1])
        return kept, interpreter.decode((1 - mask) * h_e, wavs.shape[1]), mask

    def compute_forward(
        self, batch: dict[str, Tensor], stage: sb.Stage
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits, the kept and the removed sound."""
        wavs = batch["mixture"].to(self.device)
        with torch.no_grad():
            _, log_mel = self.spectra(wavs)
            logits, reps = self.classify(log_mel)
        kept, removed, _ = self.interpret(wavs, reps)
        return logits, kept, removed

    def compute_objectives(
        self,
        outputs: tuple[Tensor, Tensor, Tensor],
        batch: dict[str, Tensor],
        stage: sb.Stage,
    ) -> Tensor:
        """Return the masking loss, a mean over the batch."""
        logits, kept, removed = outputs
        weights, decided = self.hparams, logits.argmax(dim=1)
        magnitude, log_mel = self.spectra(kept)
        logits_in, _ = self.classify(log_mel)
        logits_out, _ = self.classify(self.spectra(removed)[1])
        return (
            weights.l_in_w * F.cross_entropy(logits_in, decided)
            - weights.l_out_w * F.cross_entropy(logits_out, decided)
            + weights.reg_w_l1 * magnitude.mean()
        )

    @torch.no_grad()
    def evaluate_published(self, batch: dict[str, Tensor]) -> dict[str, list[float]]:
        """Compute the seven metrics of a batch, with as many passes as the release.

        There are three passes of the interpreter, five of CNN14, seven of the decoder
        and eleven STFTs; Quantus computes SPS and COMP clip by clip.

        Returns
        -------
        dict of str to list of float
            One value per clip.
        """
        wavs = batch["mixture"].to(self.device)
        _, log_mel = self.spectra(wavs)
        logits, reps = self.classify(log_mel)
        c, p_x = logits.argmax(dim=1), logits.softmax(dim=1)

        # FF: the removed sound.
        _, removed, _ = self.interpret(wavs, reps)
        logits_out, _ = self.classify(self.spectra(removed)[1])
        p_out = of_class(logits_out.softmax(dim=1), c)

        # AI, AD, AG: a second pass, for the kept sound.
        kept, _, _ = self.interpret(wavs, reps)
        self.magnitude(wavs)
        logits_in, _ = self.classify(self.spectra(kept)[1])
        p_in = of_class(logits_in.softmax(dim=1), c)

        # Fid-In, SPS, COMP, and sounds to listen to: a third pass.
        mask, h_e = self.modules.interpreter(wavs, reps)
        kept, removed, both = (
            self.modules.interpreter.decode(h, wavs.shape[1])
            for h in (mask * h_e, (1 - mask) * h_e, h_e)
        )
        magnitude_in, kept_input = self.spectra(kept)
        kept_logits, _ = self.classify(kept_input)
        self.classify(self.spectra(removed)[1])
        for wav in (both, wavs):
            self.magnitude(wav)
        fidelity = (kept_logits.argmax(dim=1) == c).float()
        for wav in (kept, removed, wavs):  # spectrograms for figures
            self.magnitude(wav)
        # Imported here, since it takes seconds and training does not need it.
        import quantus

        sparseness, complexity = [], []
        for magnitude in torch.log1p(magnitude_in).cpu().numpy():
            arguments = {
                "model": None,
                "x_batch": magnitude[None, None],
                "y_batch": [0],
                "a_batch": magnitude[None, None],
                "softmax": False,
                "device": "cpu",
            }
            sparseness += _quantus(quantus.Sparseness)(**arguments)
            complexity += _quantus(quantus.Complexity)(**arguments)

        p_x = of_class(p_x, c)
        return {
            "AI": (100.0 * (p_in > p_x)).tolist(),
            "AD": (100 * (p_x - p_in).clamp(min=0) / p_x).tolist(),
            "AG": (100 * (p_in - p_x).clamp(min=0) / (1 - p_x)).tolist(),
            "FF": (p_x - p_out).tolist(),
            "Fid-In": fidelity.tolist(),
            "SPS": [float(value) for value in sparseness],
            "COMP": [float(value) for value in complexity],
        }


def _quantus(metric: Any) -> Any:
    """Make a metric of Quantus with the arguments of the release."""
    return metric(
        abs=True, normalise=False, disable_warnings=True, display_progressbar=False
    )


def published_brain(
    hparams: dict, interpreter: LMACTD, classifier: Cnn14Classifier, device: str
) -> PublishedBrain:
    """Return the published implementation with the weights of this project's modules.

    Arguments
    ---------
    hparams : dict
        The recipe ``hparams/lmac_td_published.yaml``.
    interpreter : LMACTD
    classifier : Cnn14Classifier
    device : str

    Returns
    -------
    PublishedBrain
    """
    theirs = PublishedInterpreter(hparams)
    theirs.load_state_dict(interpreter.state_dict())
    embedding_model = classifier_network(hparams)
    embedding_model.load_state_dict(classifier.embedding_model.state_dict())
    modules = {
        "interpreter": theirs,
        "embedding_model": embedding_model.requires_grad_(False).eval(),
        "classifier": classifier.classifier,
    }
    # Only numbers: this project's modules would need the memory of a second model.
    plain = {name: v for name, v in hparams.items() if isinstance(v, int | float)}
    rate = hparams["sample_rate"]
    analysis = {
        "compute_stft": STFT(
            sample_rate=rate,
            n_fft=hparams["n_fft"],
            win_length=hparams["win_length"],
            hop_length=hparams["hop_length"],
        ).to(device),
        "compute_fbank": Filterbank(
            n_fft=hparams["n_fft"],
            n_mels=hparams["n_mels"],
            sample_rate=rate,
            f_max=rate // 2,
            log_mel=False,
        ).to(device),
    }
    return PublishedBrain(
        modules=modules,
        opt_class=lambda parameters: torch.optim.Adam(
            parameters, lr=hparams["lr"], weight_decay=hparams["weight_decay"]
        ),
        hparams={**plain, **analysis},
        run_opts={"device": device},
    )
