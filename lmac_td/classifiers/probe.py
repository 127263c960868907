"""Run a network on seeded noise of several lengths to measure its layers' outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lmac_td.classifiers.hooks import check_layers, record_outputs
from lmac_td.classifiers.layouts import Layer, locate_layer
from lmac_td.contracts import Classifier, Geometry
from lmac_td.errors import SettingError, UserError

# Lengths of the short and of the long sound, in seconds.
LENGTHS_S = (1, 3)


class Probe:
    """Measures the layout and the geometry of the outputs of a network's layers.

    It does not change parameters, buffers, modes or the global random state.

    Arguments
    ---------
    classifier : Classifier
    network : nn.Module
        The part of the classifier that has the layers.
    clip_samples : int or None
        The length of clips, if the network takes clips of one length only.
    """

    def __init__(
        self, classifier: Classifier, network: nn.Module, clip_samples: int | None
    ) -> None:
        self.classifier = classifier
        self.network = network
        features = classifier.spectrogram
        # A part of a frame has no effect, so lengths differ by whole frames.
        self.unit = 1 if features is None else features.hop_samples
        self.lengths = tuple(
            clip_samples
            or round(seconds * classifier.sample_rate / self.unit) * self.unit
            for seconds in LENGTHS_S
        )
        generator = torch.Generator().manual_seed(0)
        self.noise = 0.1 * torch.randn(2, self.lengths[1], generator=generator)
        self._known = {}

    def locate(self, layers: Sequence[Layer]) -> list[tuple[str, Geometry]]:
        """Measure the layout and the geometry of layers.

        Arguments
        ---------
        layers : sequence of Layer

        Returns
        -------
        list of (str, Geometry)
            Layout and geometry of each layer.

        Raises
        ------
        SettingError
            If the output of a layer cannot be a representation, or the network fails on
            noise.
        """
        names = [layer.name for layer in layers]
        with _evaluating(self.network):
            check_layers(
                self.network, names, lambda: self._run(self.noise[:, : self.lengths[0]])
            )
            return [
                locate_layer(
                    layer,
                    lambda length, name=layer.name: self._shapes(length, names)[name],
                    self.lengths,
                    self.unit,
                )
                for layer in layers
            ]

    def _shapes(self, length: int, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each layer's output for one clip, by the layer's name."""
        if length not in self._known:
            with record_outputs(self.network, names) as outputs:
                self._run(self.noise[:1, :length])
            self._known[length] = {
                name: tuple(calls[0].shape) for name, calls in outputs.items()
            }
        return self._known[length]

    def _run(self, wavs: Tensor) -> int:
        """Run the network on sounds (B, T) and return B."""
        try:
            inputs = self.classifier.inputs_of(wavs.to(_device(self.network)))
            self.classifier.run(inputs)
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise SettingError(
                f"{self.classifier.name} cannot take {wavs.shape[1]} samples of noise "
                f"({reason}): check its front end; if it takes clips of one length "
                "only, give this length as clip_samples"
            ) from error
        return len(wavs)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters(), torch.zeros(())).device


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradients; restore modes and random state after."""
    modes = [(module, module.training) for module in network.modules()]
    device = _device(network)
    with (
        torch.no_grad(),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        network.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
