#!/usr/bin/env python
"""Score a trained interpreter: faithfulness, conciseness, and how much it keeps.

    python eval_faithfulness.py [hparams/lmac_td.yaml] [--setting value ...]

Give it the settings that the interpreter was trained with. ``--condition clean`` or
``in_domain`` (with noise) scores one of the two alone.
"""

import shlex
import shutil
import sys
from pathlib import Path

from speechbrain.dataio.dataloader import make_dataloader

from lmac_td import evaluation
from lmac_td.checkpoints import load_best
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment import MIXTURE_SETTINGS, RUN_SETTINGS, open_experiment
from lmac_td.files import write_atomically
from lmac_td.interpreters.baselines import reference_interpreters
from lmac_td.metrics.table import FaithfulnessTable, check_invariants
from lmac_td.report.samples import save_samples

DEFAULT_RECIPE = Path(__file__).parent / "hparams" / "lmac_td.yaml"


def main(argv=None):
    """Score what the recipe describes, beside the baselines that explain nothing."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0].startswith("-"):
        argv = [str(DEFAULT_RECIPE), *argv]
    experiment = open_experiment(argv, __doc__, needs="interpreter")
    hparams, device = experiment.hparams, experiment.device
    conditions = experiment.conditions()
    experiment.check_trained_as(RUN_SETTINGS | MIXTURE_SETTINGS)
    trained_epoch = None
    if any(p.requires_grad for p in hparams["interpreter"].parameters()):
        trained_epoch = load_best(
            hparams["checkpointer"],
            hparams["save_folder"],
            f"train it with `python train_interpreter.py {shlex.join(argv)}`",
        )
    classifier = experiment.load_classifier().to(device)
    data = experiment.prepare("test", noise=conditions != ["clean"])

    features = hparams["features"].to(device)
    interpreter = hparams["interpreter"].to(device).eval()
    method = hparams["experiment_name"]
    interpreters = {method: interpreter, **reference_interpreters(features)}
    table = FaithfulnessTable(
        settings={
            "test_fold_nums": data.folds["test"],
            "checkpoint chosen on fold": data.folds["valid"],
            "epoch": trained_epoch,
            "seed": hparams["seed"],
            "mixing_seed": data.mixing_seed,
            "in_domain snr_db": data.snr_db,
            "heard": interpreter.heard,
            "remark": interpreter.remark,
            "recipe": experiment.settings,
        }
    )
    # One condition alone leaves the table of all of them as it is.
    name = "evaluation" if len(conditions) > 1 else f"evaluation_{conditions[0]}"
    folder = experiment.output_folder / name
    shutil.rmtree(folder, ignore_errors=True)  # of an older model, perhaps
    samples = folder / "samples"
    sample_ids = data.sample_ids("test", hparams["n_samples"])

    own = hparams["own_table"]

    def keep(condition, row, batch, heard):
        if row != method:
            return
        save_samples(
            samples / condition,
            batch,
            heard,
            features,
            data.class_names,
            sample_ids,
            parts=interpreter.parts,
        )
        if own is not None:
            own.add(condition, batch, heard, interpreter)

    for condition in conditions:
        loader = make_dataloader(
            data.dataset("test", condition), **hparams["eval_loader"]
        )
        evaluation.evaluate(
            table,
            condition,
            interpreters,
            loader,
            features,
            classifier,
            device=device,
            on_heard=keep,
            progress=not experiment.run_opts.noprogressbar,
        )
    pages = {"table.md": table.to_markdown()}
    if interpreter.remark:
        pages["table.md"] += f"\n{method}: {interpreter.remark}\n"
    if own is not None:
        pages["own_table.md"] = own.to_markdown()
        own.to_json(folder / "own_table.json")
    for page, text in pages.items():
        with write_atomically(folder / page, "w", encoding="utf-8") as file:
            file.write(text)
    table.to_json(folder / "table.json")
    table.clips_to_csv(folder / "clips.csv")
    check_invariants(table)
    print("\n".join(pages.values()))
    said = (
        f"{name}: {value}"
        for name, value in table.settings.items()
        if name not in ("recipe", "remark")
    )
    print(", ".join(said))
    print(f"Table, intervals and every clip's scores: {folder}")
    print(f"Sounds and spectrograms: {samples}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
