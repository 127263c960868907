"""Compare a training in bf16 with one in float32: losses, and metrics afterwards."""

import gc
import statistics

from benchmarks import sides
from benchmarks.cost import give_back
from benchmarks.eval_batch import agreement as metrics_agreement
from benchmarks.gpu import figures
from benchmarks.gpu.scale import CLIPS, Run
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.runtime.process import set_up_process


def bf16_training(run: Run) -> None:
    """Train in float32 and in bf16, from the same weights and on the same batches."""
    set_up_process()
    scale = run.scale
    settings = scale.recipe_settings(sides.DEFAULT)
    trained = {}
    columns = {"before training": evaluate(run, None)}
    for name, precision in (("float32", "fp32"), ("bf16", "bf16")):
        work = sides.training(
            sides.DEFAULT, settings, CLIPS, scale.device, precision=precision
        )
        losses = trained[name] = []
        for step in range(scale.steps):
            work.take(CLIPS, seed=step + 1)  # the evaluation uses seed 0
            losses.append(work()["loss"])
        interpreter = work.brain.modules["interpreter"]
        weights = {key: v.cpu() for key, v in interpreter.state_dict().items()}
        del work, interpreter
        gc.collect()
        give_back(scale.device)
        columns[name] = evaluate(run, weights)
        text = training_markdown(trained, columns)
        figures.write(
            run.folder,
            "bf16_training",
            {"losses": trained, "columns": columns, "markdown": text},
        )


def evaluate(run: Run, weights: dict | None) -> dict[str, list[float]]:
    """Return the seven metrics of an interpreter, computed in float32."""
    scale = run.scale
    settings = scale.recipe_settings(sides.DEFAULT)
    n_clips, device = scale.eval_clips, scale.device
    return sides.evaluation_batch(
        sides.DEFAULT, settings, n_clips, device, weights=weights
    )()


def training_markdown(
    trained: dict[str, list[float]], columns: dict[str, dict[str, list[float]]]
) -> str:
    """Return the tables of the losses and of the metrics."""
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
