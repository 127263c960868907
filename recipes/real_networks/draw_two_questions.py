#!/usr/bin/env python
"""Draw what two networks are explained by: notes of a chord, and a voice in noise.

    python recipes/real_networks/draw_two_questions.py --speech LJSpeech-1.1 --noise WHAM

The sounds are those of sounds.py with the same seed. It needs silero-vad and
torchcrepe: pip install 'lmac-td[real]'.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sounds import N_HARMONICS, SAMPLE_RATE, make_chord, mix_speech, parser
from torch import Tensor

from lmac_td import AudioInterpreter
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.inference.interpretation import Interpretation
from lmac_td.report.figures import draw_spectrogram

HERE = Path(__file__).parent
STFT = SpectralFeatures(SAMPLE_RATE, n_fft=1024, win_length=64, hop_length=16)
COLOURS = ("#2f9bff", "#ff8c1a")  # of the notes
FRAME_S = 512 / SAMPLE_RATE  # of silero-vad
NOTES_KHZ, SPEECH_KHZ = 3.4, 6
SPEECH_KEPT = 0.25  # of the energy


def main(argv: list[str] | None = None) -> None:
    """Explain both mixtures, and draw the figure."""
    made = parser(__doc__)
    made.add_argument("--out", default="two_questions.png", help="the figure's file")
    options = made.parse_args(argv)
    if options.speech is None or options.noise is None:
        raise SettingError("give both --speech and --noise: folders with recordings")
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    draw_notes(axes[0], tuple(options.hz), options.seed)
    mixed, speech, _ = mix_speech(options.speech, options.noise, 1, options.seed)
    draw_speech(axes[1], mixed[0], speech[0])
    with write_atomically(Path(options.out)) as file:
        figure.savefig(file, format="png", dpi=100)
    print(options.out)


def draw_notes(axes: list[Axes], hz: tuple[float, float], seed: int) -> None:
    """Draw two notes, and what is kept when either is asked for."""
    from crepe import class_of_pitch

    chord, _ = make_chord(hz, seed)
    tracker = AudioInterpreter.from_classifier(HERE / "crepe.yaml", device="cpu")
    names = [tracker.labels[class_of_pitch(f)] for f in hz]
    found = [explain(tracker, chord, name) for name in names]
    title = f"{names[0]} and {names[1]} played together"
    draw_sound(axes[0], chord, chord, NOTES_KHZ, title)
    for axis, result in zip(axes[1:], found, strict=True):
        draw_sound(axis, result.interpretation, chord, NOTES_KHZ, question(result))
    for axis in axes:
        for f, name, colour in zip(hz, names, COLOURS, strict=True):
            mark_harmonics(axis, f, name, colour)


def draw_speech(axes: list[Axes], mixture: Tensor, speech: Tensor) -> None:
    """Draw a voice in noise, what is kept, and the detector's probability over time."""
    detector = AudioInterpreter.from_classifier(
        HERE / "silero.yaml", keep=SPEECH_KEPT, device="cpu"
    )
    result = explain(detector, mixture, "speech")
    draw_sound(axes[0], mixture, mixture, SPEECH_KHZ, "a voice in noise")
    draw_sound(axes[1], result.interpretation, mixture, SPEECH_KHZ, question(result))
    network = detector.explainer.classifier.network
    parts = {"mixture": mixture, "kept": result.interpretation}
    for (name, wav), colour in zip(parts.items(), ("0.55", "#c2185b"), strict=True):
        with torch.no_grad():
            p = network(wav[None])[0, :, 0]
        axes[2].plot(FRAME_S * (np.arange(len(p)) + 0.5), p, color=colour, label=name)
    start, end = (speech.nonzero()[[0, -1], 0] / SAMPLE_RATE).tolist()
    axes[2].axvspan(start, end, color="0.9", label="somebody speaks")
    axes[2].set(xlim=(0, len(mixture) / SAMPLE_RATE), ylim=(-0.03, 1.03), xlabel="s")
    axes[2].set_title("probability of speech", fontsize=10, loc="left")
    axes[2].legend(fontsize=8, loc="center right")


def explain(interpreter: AudioInterpreter, wav: Tensor, target: str) -> Interpretation:
    """Explain a sound (T,), and print the probabilities."""
    result = interpreter.interpret_file(wav, target, SAMPLE_RATE)
    print(
        f"{target}: p = {result.probability:.2f}; kept p = "
        f"{result.probability_kept:.2f}, removed p = {result.probability_removed:.2f}"
    )
    return result


def question(result: Interpretation) -> str:
    """Return the title of a panel with what is kept."""
    return f'asked for "{result.target}": this is kept'


def draw_sound(axis: Axes, wav: Tensor, whole: Tensor, khz: float, title: str) -> None:
    """Draw the spectrogram of a sound (T,); 0 dB is the maximum of the whole."""
    shown, reference = (
        STFT(x[None].float()).magnitude[0].numpy() for x in (wav, whole)
    )
    duration_s = len(wav) / SAMPLE_RATE
    draw_spectrogram(axis, shown, reference.max(), SAMPLE_RATE, duration_s)
    axis.set(ylim=(0, khz), xlabel="s", ylabel="kHz")
    axis.set_title(title, fontsize=10, loc="left")


def mark_harmonics(axis: Axes, hz: float, name: str, colour: str) -> None:
    """Mark the harmonics of a note at the right edge of a spectrogram."""
    for k in range(1, N_HARMONICS + 1):
        if k * hz / 1000 < axis.get_ylim()[1]:
            axis.plot(
                1.015, k * hz / 1000, marker="<", color=colour, markersize=6,
                transform=axis.get_yaxis_transform(), clip_on=False,
            )  # fmt: skip
    axis.annotate(
        name, (1.03, hz / 1000), xycoords=axis.get_yaxis_transform(), color=colour,
        va="center", fontsize=9, fontweight="bold",
    )  # fmt: skip


if __name__ == "__main__":
    with exit_on_user_error():
        main()
