"""Time training steps and evaluation batches on a GPU, in several precisions.

Batch sizes double until the memory of the GPU is full.
"""

import gc
import statistics
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from benchmarks import sides
from benchmarks.cost import clocked, counted, give_back, peak_gb
from benchmarks.gpu import figures
from benchmarks.gpu.scale import CLIPS, Run, Scale
from benchmarks.measure import with_spread
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.runtime.process import set_up_process


@dataclass(frozen=True)
class Mode:
    """One implementation and precision.

    Attributes
    ----------
    name : str
        The name in the tables.
    arithmetic : str
        The arithmetic of the matrix rate that it is compared with.
    published : bool
        Whether this is the published implementation, which multiplies in TF32.
    options : dict
        Arguments for the functions of :mod:`benchmarks.sides`.
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
# The functions of the published implementation and of this project.
BUILD = {
    "train": (sides.training_as_published, sides.training),
    "eval": (sides.evaluation_as_published, sides.evaluation_batch),
}
TITLES = {
    "train": ("A training step", "step"),
    "eval": ("An evaluation batch", "batch"),
}


def speed(work: str, mode: str, run: Run) -> None:
    """Time training steps or evaluation batches, for all batch sizes that fit.

    Arguments
    ---------
    work : str
        ``train`` or ``eval``.
    mode : str
        A key of :data:`MODES`.
    run : Run
    """
    rows = figures.read(run.folder, work).get("rows", [])
    rows = [row for row in rows if row["mode"] != mode]

    def record(row):
        rows.append({"mode": mode, **row})
        save()

    def save():
        text = speed_markdown(work, rows, run)
        figures.write(run.folder, work, {"rows": rows, "markdown": text})

    compiled = MODES[mode].options.get("compile")
    task = build(work, MODES[mode], run.scale)
    if compiled:
        fitted = [r["batch_size"] for r in rows if r["mode"] == "bf16" and fits(r)]
        sizes = halving(max(fitted, default=CLIPS))
    else:
        sizes = doubling(run.scale.largest_batch)
    for n_clips in sizes:
        begin = time.monotonic()
        row = measure_size(task, n_clips, run.scale)
        record(row)
        if fits(row) == bool(compiled):  # the largest size that fits is found
            break
        if not compiled and n_clips == 1:
            add_flop_count(task, rows[-1])
            save()
        if run.seconds_left() < 3 * (time.monotonic() - begin):
            record({"batch_size": 2 * n_clips, "note": "no time left"})
            break


def build(work: str, mode: Mode, scale: Scale) -> sides.Work:
    """Build a training step or an evaluation batch in a mode."""
    recipe = sides.PUBLISHED if mode.published else sides.DEFAULT
    if not mode.published:
        set_up_process()
        allow_tf32(mode.arithmetic == "TF32")
    make = BUILD[work][0 if mode.published else 1]
    settings = scale.recipe_settings(recipe)
    task = make(recipe, settings, 1, scale.device, **mode.options)
    if work == "train":
        task.digest = {}  # skips the digest of the gradient, which takes seconds
    return task


def allow_tf32(enabled: bool) -> None:
    """Set whether a GPU multiplies float32 matrices in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled


def doubling(largest: int) -> Iterator[int]:
    """Yield the batch sizes 1, 2, 4, ... up to the largest."""
    size = 1
    while size <= largest:
        yield size
        size *= 2


def halving(first: int) -> Iterator[int]:
    """Yield batch sizes from the first down to 1."""
    while first >= 1:
        yield first
        first //= 2


def fits(row: dict) -> bool:
    """Return whether a batch size did fit into memory, so that its row has times."""
    return "seconds" in row


def measure_size(task: sides.Work, n_clips: int, scale: Scale) -> dict:
    """Time a task at one batch size.

    Returns
    -------
    dict
        ``batch_size``, and either ``first_s`` (the first call, which includes tuning
        and compilation), ``seconds`` (each later call) and ``peak_gb``, or a ``note``
        that memory is full.
    """
    try:
        task.take(n_clips)
        give_back(scale.device)
        if scale.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(scale.device)
        first = clocked(task, scale.device)
        seconds = [clocked(task, scale.device) for _ in range(scale.repeats)]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        note = "out of memory"
    else:
        peak = peak_gb(scale.device)
        return {
            "batch_size": n_clips, "first_s": first, "seconds": seconds, "peak_gb": peak
        }  # fmt: skip
    # Outside the except block, which still references the tensors of the step.
    gc.collect()
    give_back(scale.device)
    return {"batch_size": n_clips, "note": note}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of PyTorch, a compiler or cuDNN means a full memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return "out of memory" in str(error) or "STATUS_ALLOC_FAILED" in str(error)


def add_flop_count(task: sides.Work, row: dict) -> None:
    """Add the GFLOP per clip to a row, if PyTorch can count them."""
    try:
        row["gflop_per_clip"] = counted(task) / row["batch_size"]
    except Exception:  # the interface of the counter differs between versions
        traceback.print_exc()


def speed_markdown(work: str, rows: list[dict], run: Run) -> str:
    """Return the table of all modes."""
    rate = figures.read(run.folder, "rates").get("gflop_per_s", {})
    rate = {"TF32": rate.get("float32"), **rate}  # a CPU has no TF32
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


def speed_row(
    row: dict,
    rate: dict[str, float],
    gflop: dict[str, float],
    published: dict[int, float],
) -> list:
    """Return the cells of one row of :func:`speed_markdown`.

    Arguments
    ---------
    row : dict
        As saved by :func:`speed`.
    rate : dict
        Matrix rate in GFLOP/s, by arithmetic.
    gflop : dict
        GFLOP per clip, by mode.
    published : dict
        Seconds of the published implementation, by batch size.
    """
    mode, n_clips = MODES[row["mode"]], row["batch_size"]
    cells = [mode.name, n_clips]
    if not fits(row):
        return [*cells, row["note"], *["–"] * 6]
    seconds = statistics.median(row["seconds"])
    # All modes but the published one have the same networks and clips.
    per_clip = gflop.get("published" if mode.published else "float32")
    per_clip = gflop.get(row["mode"], per_clip)
    peak_rate = rate.get(mode.arithmetic)
    work = per_clip and per_clip * n_clips
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
