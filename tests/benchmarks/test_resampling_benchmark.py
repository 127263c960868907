"""The comparison of resamplers, on a folder of synthetic sounds."""

import numpy as np
import soundfile

from benchmarks.resampling import main


def test_both_resamplers_give_the_same_tone(tmp_path, capsys):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "tone.wav", tone, 44100)
    soundfile.write(tmp_path / "silence.wav", np.zeros(44100), 44100)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "1 recordings; soxr HQ against torchaudio" in printed
    (line,) = [li for li in printed.splitlines() if li.startswith("| all frequencies")]
    assert all(float(cell) < -40 for cell in line.split("|")[2:4])
    assert "from 44101 Hz" in printed
