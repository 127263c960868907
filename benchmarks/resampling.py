"""Compare the samples of soxr with those of torchaudio's kernels.

    python -m benchmarks.resampling FOLDER [--sample_rate 16000]

Resamples every recording of a folder in both ways. Prints how large the difference is
against the signal, over all frequencies and below 80 % of half the new rate, where both
should change nothing, and how long soxr takes for a clip of 5 s at three rates.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchaudio
from scipy import signal

from lmac_td.audio import RESAMPLER, read_mono, resample
from lmac_td.evaluation.markdown import markdown_table

ENDINGS = (".wav", ".flac", ".ogg")
RATES = (44100, 44101, 22257)  # Hz; the ratio of the last two to 16 kHz is awkward
CLIP_S = 5


def read_options(argv):
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--sample_rate", type=int, default=16000, help="Hz")
    return options.parse_args(argv)


def both_ways(path, sample_rate):
    """A recording by torchaudio and by soxr, equally long, in float64."""
    samples, rate = read_mono(path)
    wav = torch.from_numpy(samples)
    before = torchaudio.functional.resample(wav, rate, sample_rate).numpy()
    after = resample(samples, rate, sample_rate)
    n_samples = min(len(before), len(after))
    return before[:n_samples].astype(float), after[:n_samples].astype(float)


def level_db(difference, reference):
    """Energy of a difference against a reference that is not silent, dB."""
    energy = np.square(difference).sum() + np.finfo(float).tiny
    return 10 * np.log10(energy / np.square(reference).sum())


def seconds_of_soxr(rate, sample_rate):
    """Seconds for a clip of noise, the median of five."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(CLIP_S * rate).astype("float32")
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        resample(noise, rate, sample_rate)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main(argv=None):
    """Measure and print."""
    options = read_options(sys.argv[1:] if argv is None else argv)
    paths = [p for p in sorted(options.folder.iterdir()) if p.suffix in ENDINGS]
    low_pass = signal.butter(12, 0.8, output="sos")
    whole, low = [], []
    for path in paths:
        before, after = both_ways(path, options.sample_rate)
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
