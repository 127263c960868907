"""Compare the output of two resamplers, soxr and torchaudio.

    python -m benchmarks.resampling FOLDER [--sample_rate 16000]

It resamples every recording of a folder with both, and prints the level of the
difference relative to the signal: over all frequencies, and below 80 % of the new
Nyquist frequency, where both should change nothing. It also prints the time of soxr for
a clip of 5 s at three rates.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchaudio
from scipy import signal

from lmac_td.audio import RESAMPLER, read_mono, resample
from lmac_td.evaluation.markdown import markdown_table

ENDINGS = (".wav", ".flac", ".ogg")
RATES = (44100, 44101, 22257)  # Hz; the last two have large ratios to 16 kHz
CLIP_S = 5


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--sample_rate", type=int, default=16000, help="Hz")
    return options.parse_args(argv)


def resample_twice(path: Path, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a recording resampled by torchaudio and by soxr, (T,) each, in float64."""
    samples, rate = read_mono(path)
    wav = torch.from_numpy(samples)
    before = torchaudio.functional.resample(wav, rate, sample_rate).numpy()
    after = resample(samples, rate, sample_rate)
    n_samples = min(len(before), len(after))
    return before[:n_samples].astype(float), after[:n_samples].astype(float)


def level_db(difference: np.ndarray, reference: np.ndarray) -> float:
    """Return the energy of a difference relative to a reference, in dB."""
    energy = np.square(difference).sum() + np.finfo(float).tiny
    return 10 * np.log10(energy / np.square(reference).sum())


def seconds_of_soxr(rate: int, sample_rate: int) -> float:
    """Return the median time of five resamplings of a clip of noise."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(CLIP_S * rate).astype("float32")
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        resample(noise, rate, sample_rate)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(sys.argv[1:] if argv is None else argv)
    paths = [p for p in sorted(options.folder.iterdir()) if p.suffix in ENDINGS]
    low_pass = signal.butter(12, 0.8, output="sos")
    whole, low = [], []
    for path in paths:
        before, after = resample_twice(path, options.sample_rate)
        if before.any():
            whole.append(level_db(after - before, before))
            below = signal.sosfiltfilt(low_pass, before)
            error = signal.sosfiltfilt(low_pass, after - before)
            low.append(level_db(error, below))
    rows = [
        [name, f"{statistics.median(values):.1f}", f"{max(values):.1f}"]
        for name, values in (
            ("all frequencies", whole),
            ("below 80 % of half the new rate", low),
        )
    ]
    head = ["difference against the signal (dB)", "median", "largest"]
    print(f"{len(whole)} recordings; {RESAMPLER} against torchaudio\n")
    print(markdown_table(head, rows))
    taken = ", ".join(
        f"{1000 * seconds_of_soxr(rate, options.sample_rate):.1f} ms from {rate} Hz"
        for rate in RATES
    )
    print(f"A clip of {CLIP_S} s: {taken}")


if __name__ == "__main__":
    main()
