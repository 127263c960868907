"""Check that a GPU computes the same numbers as the CPU."""

import statistics

from benchmarks import sides
from benchmarks.eval_batch import agreement as metrics_agreement
from benchmarks.gpu import figures
from benchmarks.gpu.scale import CLIPS, Run
from benchmarks.train_step import agreement as step_agreement
from lmac_td.evaluation.markdown import markdown_table
from lmac_td.runtime.process import set_up_process


def gpu_equals_cpu(run: Run) -> None:
    """Compute one step and one evaluation batch on the CPU and on the GPU."""
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


def equality_markdown(cpu: dict, gpu: dict) -> str:
    """Return the table of losses and metrics, and their differences."""

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
