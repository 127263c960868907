#!/usr/bin/env python
"""Draw what two networks are explained by: notes of a chord, and a voice in noise.

    python recipes/real_networks/draw_two_questions.py --speech SPEECH --noise NOISE

The sounds are those of sounds.py with the same seed. It needs silero-vad and
torchcrepe: pip install 'lmac-td[real]'.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from sounds import (
    CHORD,
    N_HARMONICS,
    SAMPLE_RATE,
    add_recordings,
    make_chord,
    mix_speech,
)
from torch import Tensor

from lmac_td import AudioInterpreter
from lmac_td.errors import exit_on_user_error
from lmac_td.features import SpectralFeatures
from lmac_td.files import write_atomically
from lmac_td.inference.interpretation import Interpretation
from lmac_td.report.figures import draw_spectrogram

HERE = Path(__file__).parent
STFT = SpectralFeatures(SAMPLE_RATE, n_fft=1024, win_length=64, hop_length=16)
COLOURS = ("#2f9bff", "#ff8c1a")  # of the notes
FRAME_S = 512 / SAMPLE_RATE  # of silero-vad
NOTES_KHZ, SPEECH_KHZ = 2.2, 5
NOTE_KEPT, SPEECH_KEPT = 0.45, 0.25  # of the energy
NOTES_DB, SPEECH_DB = 45, 60  # ranges of the colours
FEW = 128  # colours of the file, which makes it small


def main(argv: list[str] | None = None) -> None:
    """Explain both mixtures, and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="two_questions.png", help="the figure's file")
    add_recordings(parser, required=True)
    options = parser.parse_args(argv)
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    draw_notes(axes[0])
    mixed, speech, _ = mix_speech(options.speech, options.noise, 1, options.seed)
    draw_speech(axes[1], mixed[0], speech[0])
    save_small(figure, Path(options.out))
    print(options.out)


def save_small(figure: Figure, path: Path) -> None:
    """Save a figure as a png file of few colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    few = Image.open(drawn).convert("RGB").quantize(FEW, dither=Image.Dither.NONE)
    with write_atomically(path) as file:
        few.save(file, format="PNG", optimize=True)


def draw_notes(axes: Sequence[Axes]) -> None:
    """Draw two notes, and what is kept when either is asked for."""
    from crepe import name_of_pitch

    chord, names = make_chord(), [name_of_pitch(hz) for hz in CHORD]
    tracker = AudioInterpreter.from_classifier(
        HERE / "crepe.yaml", keep=NOTE_KEPT, device="cpu"
    )
    shown = chord, NOTES_KHZ, NOTES_DB
    draw_sound(axes[0], chord, *shown, f"{names[0]} and {names[1]} played together")
    for axis, name, colour in zip(axes[1:], names, COLOURS, strict=True):
        result = explain(tracker, chord, name)
        draw_sound(axis, result.interpretation, *shown, question(result), colour)
        for spine in axis.spines.values():
            spine.set(color=colour, linewidth=2)
    for axis in axes:
        for hz, name, colour in zip(CHORD, names, COLOURS, strict=True):
            mark_harmonics(axis, hz, name, colour)


def draw_speech(axes: Sequence[Axes], mixture: Tensor, speech: Tensor) -> None:
    """Draw a voice in noise, what is kept, and the detector's probability over time."""
    detector = AudioInterpreter.from_classifier(
        HERE / "silero.yaml", keep=SPEECH_KEPT, device="cpu"
    )
    result = explain(detector, mixture, "speech")
    shown = mixture, SPEECH_KHZ, SPEECH_DB
    draw_sound(axes[0], mixture, *shown, "a voice in noise")
    draw_sound(axes[1], result.interpretation, *shown, question(result))
    network = detector.explainer.classifier.network
    parts = {"mixture": mixture, "kept": result.interpretation}
    for (name, wav), colour in zip(parts.items(), ("0.45", "#c2185b"), strict=True):
        with torch.no_grad():
            p = network(wav[None])[0, :, 0]
        axes[2].plot(FRAME_S * (np.arange(len(p)) + 0.5), p, color=colour, label=name)
    start, end = (speech.nonzero()[[0, -1], 0] / SAMPLE_RATE).tolist()
    axes[2].axvspan(start, end, color="0.92", zorder=0)
    axes[2].text((start + end) / 2, 0.06, "somebody speaks", ha="center", fontsize=8)
    axes[2].set(xlim=(0, len(mixture) / SAMPLE_RATE), ylim=(-0.03, 1.03), xlabel="s")
    axes[2].set_title("the detector's probability of speech", fontsize=10, loc="left")
    axes[2].legend(fontsize=9, loc="center", frameon=False)


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


def draw_sound(
    axis: Axes,
    wav: Tensor,
    whole: Tensor,
    khz: float,
    range_db: float,
    title: str,
    colour: str = "black",
) -> None:
    """Draw the spectrogram of a sound (T,); 0 dB is the maximum of the whole."""
    shown, loudest = (STFT(x[None].float()).magnitude[0].numpy() for x in (wav, whole))
    duration_s = len(wav) / SAMPLE_RATE
    image = draw_spectrogram(axis, shown, loudest.max(), SAMPLE_RATE, duration_s)
    image.set_clim(-range_db, 0)
    axis.set(ylim=(0, khz), xlabel="s", ylabel="kHz")
    axis.set_title(title, fontsize=10, loc="left", color=colour)


def mark_harmonics(axis: Axes, hz: float, name: str, colour: str) -> None:
    """Mark the harmonics of a note at the right edge of a spectrogram."""
    for k in range(1, N_HARMONICS + 1):
        if k * hz / 1000 < axis.get_ylim()[1]:
            axis.plot(
                1.015, k * hz / 1000, marker="<", color=colour, markersize=6,
                transform=axis.get_yaxis_transform(), clip_on=False,
            )  # fmt: skip
    axis.annotate(
        name, (1.05, hz / 1000), xycoords=axis.get_yaxis_transform(), color=colour,
        va="center", fontsize=8, fontweight="bold",
    )  # fmt: skip


if __name__ == "__main__":
    with exit_on_user_error():
        main()
