"""silero-vad as a classifier: is there speech in a clip?

The network is TorchScript, takes 512 samples at a time at 16 kHz and keeps a state
between them. Its wheel holds the weights, under the MIT licence:
https://github.com/snakers4/silero-vad
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lmac_td.classifiers.modules import ModuleClassifier

SAMPLE_RATE = 16000  # Hz
FRAME = 512  # samples


class SpeechInFrames(nn.Module):
    """Waveforms (B, T) at 16 kHz to probabilities (B, frames, 1) of speech."""

    def __init__(self) -> None:
        super().__init__()
        # Importing the package would set the number of threads of all of PyTorch.
        package = find_spec("silero_vad")
        if package is None:
            raise ModuleNotFoundError("No module named 'silero_vad'", name="silero_vad")
        folder = Path(package.origin).parent
        self.network = torch.jit.load(folder / "data" / "silero_vad.jit")

    def forward(self, wavs: Tensor) -> Tensor:
        """Reset the state, and score frame by frame."""
        self.network.reset_states()
        frames = wavs.unfold(1, FRAME, FRAME).unbind(dim=1)
        return torch.stack(
            [self.network(frame, SAMPLE_RATE) for frame in frames], dim=1
        )


def silero_classifier(top_frames: int = 20) -> ModuleClassifier:
    """Build the frozen classifier.

    Its gradient is NaN in digital silence, which dither avoids.

    Arguments
    ---------
    top_frames : int
        The logit of a clip is the mean of so many frames (32 ms each): those in which
        speech is most likely. So an explanation shows where speech was detected, not
        why there is none elsewhere.
    """
    return ModuleClassifier(
        SpeechInFrames(),
        sample_rate=SAMPLE_RATE,
        labels=["speech"],
        activation="sigmoid",
        probabilities_out=True,
        top_frames=top_frames,
        dither_db=-100,
    ).freeze()
