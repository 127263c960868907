"""Every reader refuses every kind of damaged file by one sentence, and at once."""

import contextlib
import io
import json
import os
import pickle
import random
import signal
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lmac_td.audio import load_audio, read_mono, recorded_length
from lmac_td.benchmark.listing import read_listing
from lmac_td.benchmark.minutes import Minutes
from lmac_td.classifiers.labels import read_labels
from lmac_td.classifiers.speechbrain_files import open_encoder
from lmac_td.classifiers.weights import locate, read_state
from lmac_td.convert import checkpoints
from lmac_td.data.noise import NoisePool
from lmac_td.data.sources.esc50 import ESC50
from lmac_td.data.sources.tables import read_table
from lmac_td.errors import UserError
from lmac_td.experiment.kept import read_settings
from lmac_td.experiment.recipe import compose
from lmac_td.experiment.yaml_files import read_yaml
from lmac_td.files import sha256_of
from lmac_td.inference.opening import kind_of, shapes_of
from lmac_td.inference.sounds import Sound
from lmac_td.inference.trained import local_folder
from lmac_td.interpreters.perturbation.separation import Separator
from lmac_td.nn.dictionary import load_dictionary
from lmac_td.report.listening_test.ratings import read_ratings
from lmac_td.report.page.saved import read_clips
from lmac_td.report.runs import read_run
from lmac_td.sanity.cells import Cells

AT_ONCE_S = 20
STUDY = {
    "pages": {
        "p1": {
            "clip": "a", "condition": "clean", "target": "dog", "question": "quality",
            "methods": {"C1": "lmac"},
        }
    }
}  # fmt: skip


@contextlib.contextmanager
def at_once():
    """Fail a block that waits, for instance for a pipe."""

    def stop(*_):
        pytest.fail(f"nothing was said for {AT_ONCE_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(AT_ONCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put(content):
    """Return what writes a content."""
    content = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(content)


def another_name(target):
    return lambda path: path.symlink_to(target(path))


def a_socket(path):
    folder = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(folder)


def with_64_gb(path):
    path.touch()
    os.truncate(path, 64 * 2**30)  # zeros, which take no space


class Evil:
    """Executes code if pickle reads it."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was executed",)


# Of every file.
ANY = {
    "empty": put(b""),
    "white space": put(b" \n\n "),
    "random bytes": put(random.Random(0).randbytes(3000)),
    "NUL bytes": put(bytes(3000)),
    "UTF-16": put("hello, world".encode("utf-16")),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": another_name(lambda path: path.name),
    "a pipe": os.mkfifo,
    "an endless device": another_name(lambda path: "/dev/zero"),
    "an empty device": another_name(lambda path: "/dev/null"),
    "a socket": a_socket,
    "64 GB": with_64_gb,
}
JSON = {
    "null": put("null"), "a number": put("3"), "a text": put('"a"'), "NaN": put("NaN"),
    "a list of nothing": put("[null]"), "a huge number": put("9" * 9999),
    "half": put('{"settings": {"a": '), "deep": put("[" * 99_999 + "]" * 99_999),
    "deep mappings": put('{"a":' * 50_000 + "1" + "}" * 50_000),
    "a name twice": put('{"pages": {}, "pages": {}}'), "two files": put("{}{}"),
    "not text": put(b'{"a": "\xe9"}'),
}  # fmt: skip
BOMB = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
]
YAML = {
    "a list": put("- a\n"), "a text": put("hello"), "nothing": put("# a\n"),
    "half": put("a: [1, "), "tabs": put("a:\n\tb: 1"), "two documents": put("a\n---\n"),
    "a name twice": put("seed: 1\nseed: 2\n"), "a number as name": put("1: 2"),
    "a list as name": put("[a, b]: 2"), "an unknown alias": put("a: *b"),
    "deep": put("a: " + "[" * 9999 + "]" * 9999),
    "deep blocks": put("\n".join(" " * i + "a:" for i in range(1500)) + " 1"),
    "deep in one line": put("- " * 3000 + "x"),
    "aliases that expand": put("\n".join(BOMB)), "too large": put("# a\n" * 2**19),
    "a version": put("%YAML 9.9\n---\na: 1"),
    "not text": put(b"a: \xe9\n"),
}  # fmt: skip
RECIPE = {
    "extends itself": put("extends: a.yaml"), "extends nothing": put("extends: b.yaml"),
    "extends its folder": put("extends: ."), "extends a device": put(
        "extends: /dev/zero"
    ),
    "extends a long name": put(f"extends: {'a' * 5000}.yaml"),
    "extends a NUL": put('extends: "a\\0b"'), "extends a number": put("extends: 3"),
}  # fmt: skip
TABLE = "path,labels,fold\na.wav,dog,1\n"
CSV = {
    "only a header": put(TABLE.split("\n")[0]), "no header": put("a.wav,dog,1\n"),
    "a short row": put(f"{TABLE}b.wav\n"), "a long row": put(f"{TABLE}b.wav,dog,1,2\n"),
    "a NUL": put(f"{TABLE}b\0.wav,dog,1\n"), "a column twice": put(
        "path,path,labels,fold\na,a,b,1\n"
    ),
    "a huge cell": put(f"{TABLE}{'b' * 200_000},dog,1\n"),
    "an open quote": put(f'{TABLE}"b.wav,dog,1\n'), "not text": put(b"path\xe9,labels"),
}  # fmt: skip


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return put(stream.getvalue())


TORCH = {
    "code": put(pickle.dumps(Evil())), "code of torch": saved(Evil()),
    "code among weights": saved({"a": torch.ones(2), "b": Evil()}),
    "a list": saved([torch.ones(2)]), "a tensor": saved(torch.ones(2)),
    "a network": saved(torch.nn.Linear(2, 2)), "half": put(b"PK\3\4" + bytes(99)),
}  # fmt: skip


def tensors(header, data=bytes(4)):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return put(struct.pack("<Q", len(header)) + header + data)


def tensor(shape, end, dtype="F32"):
    return tensors({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}})


SAFETENSORS = {
    "a huge header": put(struct.pack("<Q", 2**60)), "a list": tensors([1]),
    "half": put(struct.pack("<Q", 99) + b'{"a"'), "too short": tensor([9], 36),
    "deep": tensors(b'{"a":' * 9999 + b"1" + b"}" * 9999), "huge": tensor([2**62], 4),
    "a wrong size": tensor([-1], 4), "an unknown type": tensor([1], 4, "X9"),
    "code": put(pickle.dumps(Evil())),
}  # fmt: skip


def array(content):
    stream = io.BytesIO()
    np.save(stream, content, allow_pickle=True)
    return put(stream.getvalue())


def header(text):
    text = text.encode().ljust(117) + b"\n"
    return put(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(64))


NPY = {
    "objects": array(np.array([Evil()], dtype=object)), "texts": array(np.array(["a"])),
    "one axis": array(np.ones(5)), "no columns": array(np.ones((5, 0))),
    "NaN": array(np.full((5, 3), np.nan)), "complex": array(np.eye(5, 3) * 1j),
    "huge": header("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 6)}"),
    "0.4 TB": header(
        "{'descr': '<f8', 'fortran_order': True, 'shape': (5, 9999999999)}"),
    "code": header("__import__('os').abort()"),
}  # fmt: skip


def wav(rate=16000, channels=1, size=2000, samples=b"\1\2" * 1000, kind=1):
    form = struct.pack(
        "<HHIIHH", kind, channels, rate, 2 * rate % 2**32, 2 * channels % 2**16, 16
    )
    parts = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data"
    return put(b"RIFF\xff\xff\xff\xff" + parts + struct.pack("<I", size) + samples)


def sound(samples, subtype="FLOAT"):
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16000, subtype=subtype, format="WAV")
    return put(stream.getvalue())


def with_one(value):
    samples = np.full(16000, 0.1, np.float32)
    samples[500] = value
    return sound(samples)


SOUND = {
    "text": put("hello"), "a header alone": put(b"RIFF\0\0\0\0WAVE"),
    "no samples": wav(size=0, samples=b""), "no channels": wav(channels=0),
    "65535 channels": wav(channels=65535), "an unknown kind": wav(kind=999),
    **{f"{rate} Hz": wav(rate) for rate in (0, 1, 999, 768_001, 2**31 - 1, 2**32 - 1)},
    "NaN": with_one(np.nan), "infinity": with_one(np.inf), "3e38": with_one(3e38),
    "1e300": sound(np.full(999, 1e300), "DOUBLE"), "Ogg": put(b"OggS" + bytes(999)),
}  # fmt: skip
SILENT = {
    "silence": sound(np.zeros(16000)), "almost silence": sound(np.full(999, 1e-38)),
}  # fmt: skip


def ratings(path):
    study = path.with_name("study.json")
    study.write_text(json.dumps(STUDY))
    return read_ratings(study, [path])


def explained(path):
    return list(Sound(path).blocks(16000))


# By format: the name of the file, its kinds of damage, and what reads it.
READERS = {
    "settings": ("settings.json", JSON, lambda path: read_settings(path.parent)),
    "minutes": ("a.json", JSON, Minutes),
    "cells": ("a.json", JSON, lambda path: Cells(path, {})),
    "clips": ("clips.json", JSON, lambda path: read_clips(path.parent)),
    "evaluation": ("table.json", JSON, read_run),
    "study": ("study.json", JSON, lambda path: read_ratings(path, ["lms.csv"])),
    "label list": ("a.json", JSON, lambda path: checkpoints.read_labels(path, 3)),
    "label encoder": ("a.txt", {}, lambda path: checkpoints.read_labels(path, 3)),
    "yaml": ("a.yaml", YAML, read_yaml),
    "recipe": ("a.yaml", YAML | RECIPE, compose),
    "benchmark": ("a.yaml", YAML | {"in itself": put("a: &a [*a]")}, read_listing),
    "table": ("a.csv", CSV, lambda path: read_table(path, ("path", "labels", "fold"))),
    "ratings": ("lms.csv", CSV, ratings),
    "weights": ("a.ckpt", TORCH, lambda path: read_state(path, path)),
    "safetensors": ("a.safetensors", SAFETENSORS, lambda path: read_state(path, path)),
    "shapes": ("a.safetensors", SAFETENSORS, shapes_of),
    "dictionary": (
        "dictionary.npy", NPY, lambda path: load_dictionary(path.parent, 16000, 8, 1, 1)
    ),
    "clip": ("a.wav", SOUND | SILENT, lambda path: load_audio(path, 16000, 1.0)),
    "whole clip": ("a.wav", SOUND | SILENT, lambda path: load_audio(path, 44100)),
    "excerpt": ("a.wav", SOUND, lambda path: read_mono(path, 0, 2000)),
    "noise": ("a.wav", SOUND | SILENT, lambda path: NoisePool(path.parent, 16000, 1)),
    "recording": ("a.wav", SOUND, explained),
}  # fmt: skip
CASES = [
    (reader, kind)
    for reader, (_, kinds, _) in READERS.items()
    for kind in {**ANY, **kinds}
]


@pytest.mark.parametrize(("reader", "kind"), CASES)
def test_a_damaged_file_is_refused(tmp_path, reader, kind):
    name, kinds, read = READERS[reader]
    path = tmp_path / name
    {**ANY, **kinds}[kind](path)
    with at_once(), pytest.raises(UserError) as refused:
        read(path)
    assert 20 < len(" ".join(str(refused.value).split())) < 900
    assert {p.name for p in tmp_path.iterdir()} <= {name, "study.json"}


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "an endless device"])
@pytest.mark.parametrize(
    "read", [read_labels, sha256_of, lambda path: recorded_length(path, 16000)]
)
def test_what_is_no_file_is_refused(tmp_path, kind, read):
    path = tmp_path / "a"
    ANY[kind](path)
    with at_once(), pytest.raises(UserError):
        read(path)


FOLDERS = {
    "weights": lambda path: locate("model.safetensors", path, "savedir"),
    "SpeechBrain's classifier": lambda path: open_encoder(path, "savedir"),
    "a separator": lambda path: Separator(path, 16000),
    "a classifier": kind_of,
    "a trained interpreter": local_folder,
    "ESC-50": lambda path: ESC50(path).clips(),
    "a checkpoint": lambda path: checkpoints.find_checkpoint(path, ["b"], "weights"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_no_folder_is_called_that(tmp_path, monkeypatch, name):
    """A file in its place is there; it must not be sought on the hub, either."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for path in (Path("pipe"), tmp_path / "pipe"):
        with at_once(), pytest.raises(UserError, match="is not a folder"):
            FOLDERS[name](path)
    with at_once(), pytest.raises(UserError, match="does not exist"):
        FOLDERS[name](tmp_path / "no" / "such")


@pytest.mark.parametrize(
    "text", [TABLE, "\ufeff" + TABLE, TABLE.replace("\n", "\r\n"), f"{TABLE}\n\n"]
)
def test_a_table_as_spreadsheets_write_it_is_read(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    ((line, row),) = read_table(path, ("path", "labels", "fold"))
    assert (line, row) == (2, {"path": "a.wav", "labels": "dog", "fold": "1"})


def test_a_long_recording_is_read_only_as_far_as_needed(tmp_path):
    path = tmp_path / "a.wav"
    samples = np.random.default_rng(0).standard_normal(16000 * 60).astype(np.float32)
    soundfile.write(path, samples / 10, 44100, subtype="FLOAT")
    whole = load_audio(path, 16000)[: 2 * 16000]
    with open(path, "r+b") as file:  # what comes later is not read
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", np.nan))
    first = load_audio(path, 16000, 2.0)
    torch.testing.assert_close(first, whole, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="NaN"):
        load_audio(path, 16000)


def test_a_recording_that_would_fill_the_memory_is_refused_at_once(tmp_path):
    path = tmp_path / "a.wav"
    wav(44100, channels=8, size=2**31)(path)
    os.truncate(path, 44 + 2**31)  # zeros, which take no space
    with at_once():
        assert load_audio(path, 16000, 1.0).shape == (16000,)
        with pytest.raises(UserError, match="too long"):
            load_audio(path, 16000)


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("kind", [*SOUND, *SILENT, "a pipe"])
def test_noise_is_checked_before_anything_is_drawn(tmp_path, kind, place):
    for n in range(3):
        sound(np.full(16000, 0.1))(tmp_path / f"{n}.wav")
    bad = tmp_path / {"first": "0.wav", "last": "2.wav"}[place]
    bad.unlink()
    (ANY | SOUND | SILENT)[kind](bad)
    with at_once(), pytest.raises(UserError, match=f"{bad.name}.*wham_folder"):
        NoisePool(tmp_path, 16000, 0.5)
