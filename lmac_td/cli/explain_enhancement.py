"""Explain networks that remove noise from speech, and compare what they look at.

    python recipes/SpeechEnhancement/explain_enhancement.py \\
        recipes/SpeechEnhancement/hparams/enhancement.yaml [--setting value ...]

First train one for each noise of ``compared``: train_enhancement.py. The command prints
the paper's tables 2 and 3. ``explanation_folder`` gets them, the scores of each
mixture, figures, sounds, and the page index.html with all of it.
"""

import sys
from pathlib import Path

import pandas as pd

from lmac_td.cli.train_enhancement import NEEDS, RECIPE
from lmac_td.enhancement.deepshap import MaskShap
from lmac_td.enhancement.figures import granularity_figure, relevance_figure
from lmac_td.enhancement.mixtures import draw_mixtures
from lmac_td.enhancement.page import Sample, save_sounds, write_page
from lmac_td.enhancement.recognition import load_recogniser, require_transcripts
from lmac_td.enhancement.scoring import (
    background_of,
    eta_column,
    relevant_part,
    score_mixtures,
)
from lmac_td.enhancement.tables import (
    generalisation_table,
    relevance_table,
    to_markdown,
)
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.guards import check_folder, input_folders
from lmac_td.experiment.open import open_experiment
from lmac_td.files import replace_folder, temporary_folder_beside
from lmac_td.training.checkpoints import load_best

SCORES, TABLES = "scores.csv", "tables.md"


def main(argv=None):
    """Explain the trainings that a recipe compares."""
    argv = sys.argv[1:] if argv is None else argv
    first = open_experiment(argv, __doc__, needs=NEEDS, default_recipe=RECIPE)
    hparams = first.hparams
    folder = Path(hparams["explanation_folder"])
    check_explanation_folder(folder, input_folders(hparams))
    estimators = {name: load_trained(argv, name) for name in hparams["compared"]}
    reference, *others = estimators
    data = first.prepare("test", conditions=list(estimators))
    recogniser = load_recogniser(
        hparams["asr_source"],
        hparams["asr_class"],
        Path(hparams["cache_folder"]) / "asr",
        first.device,
        hparams["trust_remote_code"],
    )
    pairs = [(name, reference) for name in estimators] + [(n, n) for n in others]
    with temporary_folder_beside(folder) as scratch:
        made = Explanations(scratch / "made", hparams, data, first.device, recogniser)
        for model, noise in pairs:
            print(f"Model {model}, noise {noise}", flush=True)
            made.explain(estimators[model], model, noise)
        tables = made.write(reference)
        replace_folder(made.folder, folder)
    for caption, table in tables.items():
        print(f"\n{caption}\n\n{to_markdown(table)}")
    print(f"\nPage: {folder / 'index.html'}")


def check_explanation_folder(folder, inputs):
    """Refuse a folder that cannot be replaced."""
    check_folder("explanation_folder", folder, inputs)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SCORES).exists():
        raise SettingError(
            f"explanation_folder: {folder} holds other files: give a new folder with "
            "--explanation_folder"
        )


def load_trained(argv, condition):
    """Load the mask estimator that was trained with a noise.

    Returns
    -------
    MaskEstimator
        In evaluation mode, without gradients of its weights, on the device.
    """
    if any(word.split("=")[0] == "--training_condition" for word in argv):
        raise SettingError(
            "training_condition is for train_enhancement.py: give --compared here, "
            "such as [in_domain, effects]"
        )
    experiment = open_experiment(
        [*argv, "--training_condition", condition], __doc__, needs=NEEDS
    )
    experiment.check_measurable()
    load_best(
        experiment.hparams["checkpointer"],
        experiment.hparams["save_folder"],
        f"train it with train_enhancement.py --training_condition {condition}",
    )
    return experiment.hparams[NEEDS].eval().requires_grad_(False).to(experiment.device)


class Explanations:
    """Collects what is explained, and writes it into a folder.

    Arguments
    ---------
    folder : Path
    hparams : mapping
        A built recipe.
    data : PreparedData
        With the test split.
    device : str
    recogniser : Recogniser or None
    """

    def __init__(self, folder, hparams, data, device, recogniser):
        self.folder = folder
        self.hparams = hparams
        self.data = data
        self.device = device
        self.recogniser = recogniser
        self.scores, self.samples, self.figures = [], [], {}

    def explain(self, estimator, model, noise):
        """Explain and score one model in one noise; keep some sounds and figures."""
        hparams = self.hparams
        mixtures, background = (
            draw_mixtures(
                self.data,
                "test",
                noise,
                hparams["snr_range_db"],
                n,
                purpose,
                self.device,
            )
            for purpose, n in (
                ("explained", hparams["n_explained"]),
                ("background", hparams["n_background"]),
            )
        )
        if self.recogniser is not None:
            require_transcripts(mixtures, hparams["ljspeech_folder"])
        shap = MaskShap(
            estimator, background_of(estimator, background), hparams["gradients_at"]
        )
        kept = []

        def keep(number, explained):
            if number < hparams["n_samples"]:
                kept.append(explained)

        rows = list(
            score_mixtures(
                shap,
                mixtures,
                hparams["percentiles"],
                hparams["granularity"],
                self.recogniser,
                keep,
            )
        )
        self.scores += [{"model": model, "noise": noise, **row} for row in rows]
        for number, explained in enumerate(kept):
            self._save_sample(shap, model, noise, explained, number, rows[number])

    def _save_sample(self, shap, model, noise, explained, number, row):
        """Write the sounds of a mixture; of the first one of a model, also figures."""
        hparams, noisy = self.hparams, explained.noisy
        stem = f"{model}_in_{noise}_{number}"
        relevant, other = relevant_part(
            explained, shap.estimator, hparams["heard_percentile"]
        )
        sounds = {
            "noisy": noisy.mixture,
            "enhanced": explained.enhanced,
            "relevant": relevant,
            "other": other,
            "clean": noisy.speech,
        }
        files = save_sounds(
            self.folder / "sounds", stem, sounds, hparams["sample_rate"]
        )
        highest = max(hparams["percentiles"])
        about = (
            f"SNR {noisy.snr_db:.1f} dB, η {row[eta_column(highest)]:.1f} % at "
            f"T = {highest:g}, SI-SDR {row['SI-SDRi (dB)']:+.1f} dB by the enhancement"
        )
        self.samples.append(Sample(model, noise, noisy.utterance, about, files))
        if model not in self.figures:
            title = f"{noisy.utterance}, noise {noise}, model {model}"
            paths = [self.folder / f"{model}_figure_{n}.png" for n in (1, 2)]
            granularity_figure(paths[0], explained, shap, title)
            relevance_figure(paths[1], explained, shap, highest, title)
            self.figures[model] = paths

    def write(self, reference):
        """Write scores, tables and the page.

        Arguments
        ---------
        reference : str
            The noise in which all models were tested.

        Returns
        -------
        dict of str to DataFrame
            The tables by their captions.
        """
        hparams, scores = self.hparams, pd.DataFrame(self.scores)
        highest, n = max(hparams["percentiles"]), hparams["n_explained"]
        n_utterances = scores.utterance.nunique()
        size = (
            f"{n} mixtures of {n_utterances} utterances, 95 % intervals over utterances"
        )
        tables = {
            f"Speech relevance score in noise {reference} (table 2): {size}": (
                relevance_table(scores, reference, hparams["percentiles"])
            )
        }
        if scores.model.nunique() > 1:
            caption = f"Generalisation to noise {reference} (table 3), T = {highest:g}"
            tables[f"{caption}: {size}"] = generalisation_table(
                scores, reference, highest
            )
        self.folder.mkdir(exist_ok=True)
        scores.to_csv(self.folder / SCORES, index=False)
        text = "\n\n".join(f"{c}\n\n{to_markdown(t)}" for c, t in tables.items())
        (self.folder / TABLES).write_text(f"{text}\n", encoding="utf-8")
        write_page(
            self.folder, tables, self.figures, self.samples, hparams["heard_percentile"]
        )
        return tables


command = exit_on_user_error("nothing was written; give the same command again.")(main)
