"""The parts of a GPU run; each writes a figure as soon as it has it.

    python -m benchmarks.gpu.parts --part train_bf16 --folder FOLDER [--dry]

Speed is that of :mod:`benchmarks.sides`, at batch sizes that double until the memory of
the GPU is full. Classifiers have random weights and clips are noise: what is compared
is arithmetic.
"""

import argparse
import gc
import math
import statistics
import time
import traceback
from dataclasses import dataclass, field
from functools import partial

import torch

from benchmarks import sides
from benchmarks.eval_batch import agreement as metrics_agreement
from benchmarks.gpu import figures
from benchmarks.measure import (
    clocked,
    counted,
    give_back,
    machine,
    overrides,
    peak_gb,
    with_spread,
)
from benchmarks.report import matrix_rates
from benchmarks.train_step import agreement as step_agreement
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.experiment.open import set_up_process


@dataclass(frozen=True)
class Mode:
    """One way to compute.

    Attributes
    ----------
    name : str
        In the tables.
    arithmetic : str
        Of the matrix rate that it is compared with.
    published : bool
        SpeechBrain's modules in the published way, which multiplies in TF32.
    options : dict
        Of the functions of :mod:`benchmarks.sides`.
    """

    name: str
    arithmetic: str
    published: bool = False
    options: dict = field(default_factory=dict)


MODES = {
    "published": Mode("as published", "TF32", published=True),
    "float32": Mode("float32", "float32"),
    "tf32": Mode("TF32", "TF32"),
    "bf16": Mode("bf16", "bf16", options={"precision": "bf16"}),
    "bf16_compile": Mode(
        "bf16 compile", "bf16", options={"precision": "bf16", "compile": True}
    ),
}
# The published way, and this project's.
BUILD = {
    "train": (sides.training_as_published, sides.training),
    "eval": (sides.evaluation_as_published, sides.evaluation_batch),
}
TITLES = {
    "train": ("A training step", "step"),
    "eval": ("An evaluation batch", "batch"),
}


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes
    ----------
    device : str
    settings : dict
        Of the recipes.
    largest_batch : int
        Clips, where memory is not full before.
    repeats : int
        Pieces of work that are timed, after a first one.
    steps : int
        Of the training in bf16.
    eval_clips : int
        By which that training is evaluated.
    """

    device: str = "cuda"
    settings: dict = field(default_factory=dict)
    largest_batch: int = 1024
    repeats: int = 5
    steps: int = 50
    eval_clips: int = 16

    def recipe_settings(self, recipe):
        """As yaml."""
        settings = dict(self.settings)
        if recipe == sides.PUBLISHED:  # its U-Net takes clips of five seconds alone
            settings.pop("signal_length_s", None)
        return overrides(settings.items())


TINY = {
    "signal_length_s": 1,
    "emb_dim": 64,
    "cnn14_channels": [2, 4, 8, 16, 32],
    "unet_channels": [8, 8, 8, 8],
    "masknet_channels": 8,
    "masknet_layers": 1,
    "intra_layers": 1,
    "inter_layers": 1,
    "nhead": 2,
    "d_ffn": 8,
}
DRY = Scale("cpu", TINY, largest_batch=2, repeats=1, steps=5, eval_clips=2)
# Clips of a step of the two trainings, and of the batch of GPU and CPU: the recipe's.
CLIPS = 2


@dataclass(frozen=True)
class Run:
    """What a part is given.

    Attributes
    ----------
    folder : str
    scale : Scale
    end : float
        When its time is over, on the clock of ``time.time``.
    """

    folder: str
    scale: Scale
    end: float

    def seconds_left(self):
        """Until its time is over."""
        return self.end - time.time()


def rates(run):
    """Measure how fast the machine multiplies matrices in each arithmetic."""
    set_up_process()
    measured = matrix_rates(run.scale.device)
    rows = [[name, f"{rate / 1e3:.3g}"] for name, rate in measured.items()]
    table = markdown_table(["matrix product", "TFLOP/s"], rows)
    text = f"## Matrix rate\n\n{machine(run.scale.device)}\n\n{table}"
    figures.write(run.folder, "rates", {"gflop_per_s": measured, "markdown": text})


def speed(work, mode, run):
    """Time a training step, or an evaluation batch, at batch sizes up to what fits.

    Arguments
    ---------
    work : str
        ``train`` or ``eval``.
    mode : str
        Of :data:`MODES`.
    run : Run
    """
    rows = figures.read(run.folder, work).get("rows", [])
    rows = [row for row in rows if row["mode"] != mode]

    def record(row):
        rows.append({"mode": mode, **row})
        keep()

    def keep():
        text = speed_markdown(work, rows, run)
        figures.write(run.folder, work, {"rows": rows, "markdown": text})

    way, compiled = MODES[mode], MODES[mode].options.get("compile")
    piece = build(work, way, run.scale)
    if compiled:
        fitted = [r["batch_size"] for r in rows if r["mode"] == "bf16" and fits(r)]
        sizes = halving(max(fitted, default=CLIPS))
    else:
        sizes = doubling(run.scale.largest_batch)
    for n_clips in sizes:
        begin = time.monotonic()
        row = measure_size(piece, n_clips, run.scale)
        record(row)
        if fits(row) == bool(compiled):  # the largest one that fits is known
            break
        if not compiled and n_clips == 1:
            count(piece, rows[-1])
            keep()
        if run.seconds_left() < 3 * (time.monotonic() - begin):
            record({"batch_size": 2 * n_clips, "note": "no time left"})
            break


def build(work, mode, scale):
    """The piece of work, ready -> sides.Work."""
    recipe = sides.PUBLISHED if mode.published else sides.DEFAULT
    if not mode.published:
        set_up_process()
        in_tf32(mode.arithmetic == "TF32")
    make = BUILD[work][0 if mode.published else 1]
    settings = scale.recipe_settings(recipe)
    piece = make(recipe, settings, 1, scale.device, **mode.options)
    if work == "train":
        piece.digest = {}  # of the gradient; it takes seconds, and is not needed
    return piece


def in_tf32(enabled):
    """Whether a GPU multiplies float32 in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled


def doubling(most):
    """Batch sizes 1, 2, 4, ... up to the most."""
    size = 1
    while size <= most:
        yield size
        size *= 2


def halving(first):
    """Batch sizes from the first down to 1."""
    while first >= 1:
        yield first
        first //= 2


def fits(row):
    """Whether a row has a time."""
    return "seconds" in row


def measure_size(piece, n_clips, scale):
    """Time a piece of work on a number of clips.

    Returns
    -------
    dict
        ``batch_size`` and either ``first_s`` (the first call, with everything that is
        tuned or compiled in it), ``seconds`` (of each later one) and ``peak_gb``, or a
        ``note`` that memory is full.
    """
    try:
        piece.take(n_clips)
        give_back(scale.device)
        if scale.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(scale.device)
        first = clocked(piece, scale.device)
        seconds = [clocked(piece, scale.device) for _ in range(scale.repeats)]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        note = "out of memory"
    else:
        peak = peak_gb(scale.device)
        return {
            "batch_size": n_clips, "first_s": first, "seconds": seconds, "peak_gb": peak
        }  # fmt: skip
    # The error, which held the tensors of the step, is gone here.
    gc.collect()
    give_back(scale.device)
    return {"batch_size": n_clips, "note": note}


def is_out_of_memory(error):
    """Whether a GPU's memory is full; the messages of compilers and cuDNN differ."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return "out of memory" in str(error) or "STATUS_ALLOC_FAILED" in str(error)


def count(piece, row):
    """Add the GFLOP of one clip to a row; times do not depend on it."""
    try:
        row["gflop_per_clip"] = counted(piece) / row["batch_size"]
    except Exception:  # a PyTorch that counts otherwise
        traceback.print_exc()


def speed_markdown(work, rows, run):
    """All modes of a work, side by side."""
    rate = figures.read(run.folder, "rates").get("gflop_per_s", {})
    rate = {"TF32": rate.get("float32"), **rate}  # of a CPU, which has no TF32
    gflop = {r["mode"]: r["gflop_per_clip"] for r in rows if "gflop_per_clip" in r}
    published = {
        r["batch_size"]: statistics.median(r["seconds"])
        for r in rows
        if r["mode"] == "published" and fits(r)
    }
    cells = [speed_row(row, rate, gflop, published) for row in rows]
    title, unit = TITLES[work]
    columns = [
        unit, "clips", "s", "first call (s)", "clips/s", "times as fast",
        "peak memory (GB)", "GFLOP", "of matrix rate (%)",
    ]  # fmt: skip
    return f"## {title}\n\n{markdown_table(columns, cells)}"


def speed_row(row, rate, gflop, published):
    """Cells of one row of :func:`speed_markdown`.

    Arguments
    ---------
    row : dict
    rate : dict
        GFLOP/s by arithmetic.
    gflop : dict
        Of one clip, by mode.
    published : dict
        Seconds of the published way by batch size.
    """
    mode, n_clips = MODES[row["mode"]], row["batch_size"]
    cells = [mode.name, n_clips]
    if not fits(row):
        return [*cells, row["note"], *["–"] * 6]
    seconds = statistics.median(row["seconds"])
    # Networks and clips are the same in all modes but the published one.
    of_clip = gflop.get("published" if mode.published else "float32")
    of_clip = gflop.get(row["mode"], of_clip)
    peak_rate = rate.get(mode.arithmetic)
    work = of_clip and of_clip * n_clips
    share = work and peak_rate and 100 * work / seconds / peak_rate
    faster = n_clips in published and published[n_clips] / seconds
    return [
        *cells,
        with_spread(row["seconds"], digits=3),
        f"{row['first_s']:.2f}",
        f"{n_clips / seconds:.3g}",
        f"{faster:.2f}" if faster else "–",
        f"{row['peak_gb']:.2f}",
        f"{work:.4g}" if work else "–",
        f"{share:.0f}" if share else "–",
    ]


def bf16_training(run):
    """Train in float32 and in bf16 from the same start on the same batches."""
    set_up_process()
    scale = run.scale
    settings = scale.recipe_settings(sides.DEFAULT)
    trained = {}
    columns = {"before training": evaluated(run, None)}
    for name, precision in (("float32", "fp32"), ("bf16", "bf16")):
        work = sides.training(
            sides.DEFAULT, settings, CLIPS, scale.device, precision=precision
        )
        losses = trained[name] = []
        for step in range(scale.steps):
            work.take(CLIPS, seed=step + 1)  # the batch of the evaluation is of seed 0
            losses.append(work()["loss"])
        interpreter = work.brain.modules["interpreter"]
        weights = {key: v.cpu() for key, v in interpreter.state_dict().items()}
        del work, interpreter
        gc.collect()
        give_back(scale.device)
        columns[name] = evaluated(run, weights)
        text = training_markdown(trained, columns)
        figures.write(
            run.folder,
            "bf16_training",
            {"losses": trained, "columns": columns, "markdown": text},
        )


def evaluated(run, weights):
    """The seven columns of an interpreter, measured in float32 -> dict of lists."""
    scale = run.scale
    settings = scale.recipe_settings(sides.DEFAULT)
    n_clips, device = scale.eval_clips, scale.device
    return sides.evaluation_batch(
        sides.DEFAULT, settings, n_clips, device, weights=weights
    )()


def training_markdown(trained, columns):
    """Losses by step, and the columns of the papers."""
    steps = len(next(iter(trained.values())))
    every = max(steps // 5, 1)
    shown = sorted({0, steps - 1, *range(every - 1, steps, every)})
    head = ["loss at step", *(f"{step + 1}" for step in shown)]
    rows = [[name, *(f"{v[s]:.4f}" for s in shown)] for name, v in trained.items()]
    n_clips = len(columns["before training"]["AI"])
    means = [
        [name, *(f"{statistics.fmean(values[key]):.4f}" for key in sides.SEVEN)]
        for name, values in columns.items()
    ]
    parts = [
        f"## {steps} steps in bf16 and in float32",
        "From the same weights, on the same batches.",
        markdown_table(head, rows).rstrip(),
        f"Means over {n_clips} other clips, measured in float32:",
        markdown_table(["trained in", *sides.SEVEN], means).rstrip(),
    ]
    if "bf16" in columns:
        parts.append(metrics_agreement(columns["float32"], columns["bf16"]))
    return "\n\n".join(parts)


def gpu_equals_cpu(run):
    """Compute one step and one evaluation batch on the CPU and on the device."""
    set_up_process()
    settings = run.scale.recipe_settings(sides.DEFAULT)
    found = {}
    for name, device in (("CPU", "cpu"), ("GPU", run.scale.device)):
        step, columns = (
            make(sides.DEFAULT, settings, CLIPS, device)()
            for make in (sides.training, sides.evaluation_batch)
        )
        found[name] = {"step": step, "columns": columns}
    text = equality_markdown(found["CPU"], found["GPU"])
    figures.write(run.folder, "gpu_equals_cpu", {**found, "markdown": text})


def equality_markdown(cpu, gpu):
    """Loss and columns of both, and how far they are from each other."""

    def values(found):
        means = (statistics.fmean(found["columns"][key]) for key in sides.SEVEN)
        return [found["step"]["loss"], *means]

    of_cpu, of_gpu = values(cpu), values(gpu)
    rows = [
        ["CPU", *(f"{value:.6g}" for value in of_cpu)],
        ["GPU", *(f"{value:.6g}" for value in of_gpu)],
        ["difference", *(f"{b - a:.1e}" for a, b in zip(of_cpu, of_gpu, strict=True))],
    ]
    head = ["on", "loss", *sides.SEVEN]
    return "\n\n".join(
        [
            "## GPU and CPU in float32, on one batch",
            markdown_table(head, rows).rstrip(),
            step_agreement(cpu["step"], gpu["step"]),
            metrics_agreement(cpu["columns"], gpu["columns"]),
        ]
    )


PARTS = {
    "rates": rates,
    "gpu_equals_cpu": gpu_equals_cpu,
    "bf16_training": bf16_training,
    **{
        f"{work}_{mode}": partial(speed, work, mode) for work in BUILD for mode in MODES
    },
}


def main(argv=None):
    """Run one part."""
    options = argparse.ArgumentParser(description="Run one part of a GPU run.")
    options.add_argument("--part", choices=PARTS, required=True)
    options.add_argument("--folder", required=True, help="of the figures")
    options.add_argument(
        "--until", type=float, default=math.inf, help="when to end, in seconds of Unix"
    )
    options.add_argument("--dry", action="store_true", help="on the CPU, tiny")
    given = options.parse_args(argv)
    scale = DRY if given.dry else Scale()
    PARTS[given.part](Run(given.folder, scale, given.until))


if __name__ == "__main__":
    main()
