"""What the table of a large evaluation costs, simulated with scores that are drawn.

    python -m benchmarks.evaluation_scale [--clips 10000 100000 2000000]

No sound is read and no network runs. For each number of clips it draws the partners of
mixtures, appends batches of scores as shards do, joins the parts of all shards, and
computes all means, medians and intervals of the joined table. Each step runs in a
process of its own; a table of seconds of the processor and of the most memory that a
step held is printed. Appending takes the time of all shards together, and the memory of
one shard.
"""

import argparse
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lmac_td.data.partners import Candidates
from lmac_td.evaluation.bootstrap import STATISTICS
from lmac_td.evaluation.columns import metrics_of
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.evaluation.shards import Shard, batches_of, join_frames
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.registry import registered

CONDITION = "mixtures"
CLASSES, TAGS = 527, 3  # of AudioSet; of a clip
DRAWS = 10_000  # of partners, which are timed


def read_options(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = [10_000, 100_000, 2_000_000]
    options.add_argument("--clips", type=int, nargs="+", default=numbers)
    options.add_argument("--rows", type=int, default=1, help="methods of the table")
    options.add_argument("--shards", type=int, default=4)
    options.add_argument("--batch_size", type=int, default=16)
    return options.parse_args(argv)


def metrics() -> list[str]:
    """Return the names of all printed metrics."""
    return [metric.name for metric in registered() if metric.printed]


def clip_ids(n_clips: int) -> list[str]:
    """Return ids of clips, eleven characters as in AudioSet."""
    return [f"clip{i:07d}" for i in range(n_clips)]


def draw_partners(n_clips: int) -> float:
    """Draw partners of some clips; the time is that of all, by proportion."""
    draws = random.Random(0)
    drawn = np.random.default_rng(0).integers(CLASSES, size=(n_clips, TAGS))
    tags = list(map(frozenset, drawn.tolist()))
    begin = time.process_time()
    candidates = Candidates(tags)
    made = time.process_time() - begin
    sample = draws.sample(tags, min(DRAWS, n_clips))
    begin = time.process_time()
    for own in sample:
        candidates.place(own, draws.randrange(candidates.count(own)))
    return made + (time.process_time() - begin) * n_clips / len(sample)


def append(folder: Path, n_clips: int, options: argparse.Namespace, index: int) -> None:
    """Append the scores of a shard, batch by batch, to Parquet files."""
    table = FaithfulnessTable(folder=folder / str(index))
    ids, names = clip_ids(n_clips), metrics()
    draws = np.random.default_rng(index)
    shard = Shard(index, options.shards)
    sizes = {CONDITION: n_clips}
    for batch in batches_of(sizes, options.batch_size, shard)[CONDITION]:
        own = {"clip_id": [ids[place] for place in batch]}
        own |= {"label": [0] * len(batch), "decided": [0] * len(batch)}
        scores = draws.random((len(names), len(batch)))
        for row in range(options.rows):
            columns = own | dict(zip(names, scores * (row + 1), strict=True))
            table.append(CONDITION, f"method {row}", columns)
    table.clips_to_parquet()


def join(folder: Path, n_clips: int, options: argparse.Namespace) -> None:
    """Join the parts of all shards."""
    table = FaithfulnessTable(folder=folder / "joined")
    parts = [folder / str(index) for index in range(options.shards)]
    join_frames(table, parts, {CONDITION: clip_ids(n_clips)})
    table.clips_to_parquet()


def summarise(folder: Path) -> None:
    """Compute the means, medians and intervals of all columns of all rows."""
    files = sorted((folder / "joined").glob("*.parquet"))
    table = FaithfulnessTable.read_parquet(files)
    for (condition, method), scores in table.rows.items():
        for metric in metrics_of(scores):
            for statistic in STATISTICS:
                table.statistic(condition, method, metric, statistic)


def measure(step: Callable, *arguments: object) -> tuple[float, float]:
    """Run a step in a new process -> processor seconds and peak memory in MB."""
    context = multiprocessing.get_context("fork")  # imports nothing again
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, step, arguments))
    process.start()
    sender.close()
    measured = receiver.recv()
    process.join()
    return measured


def _measured(sender, step, arguments):
    begin = time.process_time()
    seconds = step(*arguments)
    seconds = time.process_time() - begin if seconds is None else seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sender.send((seconds, peak / (1e3 if sys.platform != "darwin" else 1e6)))


def nothing() -> None:
    """Do nothing: its memory is that of the imported libraries."""


def lines_for(n_clips: int, options: argparse.Namespace) -> list[list[str]]:
    """Return the lines of the printed table for a number of clips."""
    found = {"imports alone": measure(nothing)}
    found["partners of all clips"] = measure(draw_partners, n_clips)
    with tempfile.TemporaryDirectory() as folder:
        arguments = Path(folder), n_clips, options
        shards = [measure(append, *arguments, i) for i in range(options.shards)]
        seconds, peaks = zip(*shards, strict=True)
        found["append, all shards"] = sum(seconds), max(peaks)
        parts = [path for path in Path(folder).rglob("*.parquet")]
        n_bytes = sum(path.stat().st_size for path in parts)
        found["join"] = measure(join, *arguments)
        found["means, medians, intervals"] = measure(summarise, Path(folder))
    lines = [
        [f"{n_clips:,}".replace(",", " "), name, f"{seconds:.1f}", f"{peak:.0f}"]
        for name, (seconds, peak) in found.items()
    ]
    lines[2].append(f"{n_bytes / 1e6:.0f}")
    return [[*line, *["–"] * (5 - len(line))] for line in lines]


def main(argv: Sequence[str]) -> None:
    """Print the table."""
    options = read_options(argv)
    head = ["clips", "step", "processor (s)", "peak memory (MB)", "on disk (MB)"]
    lines = []
    for n_clips in options.clips:
        lines += lines_for(n_clips, options)
        print(f"{n_clips} clips are done", file=sys.stderr)
    print(
        f"{options.rows} rows of {len(metrics())} metrics, {options.shards} shards:\n"
    )
    print(markdown_table(head, lines))


if __name__ == "__main__":
    main(sys.argv[1:])
