"""Learn the dictionary of spectral patterns of L2I by sparse NMF.

    python recipes/ESC50/train_nmf.py hparams/nmf.yaml [--setting value ...]

The dictionary is learned from the clean training clips. The command prints how well it
rebuilds them and draws its components. The folder to give as ``nmf_dictionary`` is
``<output_folder>/dictionary``. An interrupted command starts over.
"""

import sys

import torch
from speechbrain.dataio.dataloader import make_dataloader
from tqdm import tqdm

from lmac_td.data.mixing import make_mixtures
from lmac_td.errors import exit_on_user_error
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.run_options import refuse_options
from lmac_td.experiment.shipped import HPARAMS
from lmac_td.files import write_atomically
from lmac_td.nn.dictionary import save_dictionary
from lmac_td.report.figures import dictionary_figure
from lmac_td.training.sparse_nmf import (
    check_settings,
    components_per_frame,
    reconstruction_error,
    sparse_nmf,
)


@torch.no_grad()
def collect_frames(features, loader, device, progress=True):
    """Collect log(1 + |STFT|) of a loader's clips, without silent frames.

    Returns
    -------
    frames : Tensor (bins, frames)
    n_silent : int
    """
    features = features.to(device)
    frames, n_silent = [], 0
    for batch in tqdm(
        loader, desc="analysing", dynamic_ncols=True, disable=not progress
    ):
        wavs, *_ = make_mixtures(batch, device)
        spectra = features.stft(wavs).abs().log1p().flatten(0, 1)  # (B * frames, bins)
        sounding = spectra.amax(dim=1) > 0
        frames.append(spectra[sounding])
        n_silent += int((~sounding).sum())
    return torch.cat(frames).T, n_silent


def learn(frames, hparams, progress=True):
    """Run sparse NMF with a progress bar; see :mod:`lmac_td.training.sparse_nmf`."""
    n_iterations = hparams["n_iterations"]
    with tqdm(
        total=n_iterations, desc="learning", dynamic_ncols=True, disable=not progress
    ) as bar:

        def show(iteration, objective):
            bar.update()
            bar.set_postfix(objective=f"{objective:.4f}", refresh=False)

        return sparse_nmf(
            frames,
            hparams["n_components"],
            hparams["sparsity"],
            n_iterations,
            hparams["seed"],
            show,
        )


def main(argv=None):
    """Learn and save the dictionary that the recipe describes."""
    argv = sys.argv[1:] if argv is None else argv
    experiment = open_experiment(
        argv, __doc__, needs="n_components", default_recipe=HPARAMS / "nmf.yaml"
    )
    refuse_options(experiment.run_opts, "train_nmf.py")
    hparams = experiment.hparams
    check_settings(
        hparams["n_components"], hparams["sparsity"], hparams["n_iterations"]
    )
    with experiment.training():
        learn_and_save(experiment)


def learn_and_save(experiment):
    """Learn the dictionary, save it and draw it."""
    hparams = experiment.hparams
    data = experiment.prepare("train", conditions=["clean"])
    loader = make_dataloader(data.dataset("train", "clean"), **hparams["eval_loader"])
    progress = not experiment.run_opts.noprogressbar
    frames, n_silent = collect_frames(
        hparams["features"], loader, experiment.device, progress
    )
    w, h, objective = learn(frames, hparams, progress)

    experiment.create_output_folder()
    dictionary = w.cpu().numpy()
    folder = experiment.output_folder / "dictionary"
    save_dictionary(folder, dictionary, experiment.save_settings)
    with write_atomically(folder.with_suffix(".png")) as file:
        dictionary_figure(
            file, dictionary, hparams["sample_rate"], hparams["experiment_name"]
        )
    print(
        f"Frames: {frames.shape[1]}, without {n_silent} silent ones\n"
        f"Objective, mean of the frames: {objective[0]:.4f} after the first iteration, "
        f"{objective[-1]:.4f} after the last of {len(objective)}\n"
        f"Relative reconstruction error: {reconstruction_error(frames, w, h):.3f}\n"
        f"Components above 1 % of the frame's largest: "
        f"{components_per_frame(h):.1f} of {len(h)}\n"
        f"nmf_dictionary: {folder}"
    )


command = exit_on_user_error("no dictionary was written; give it again.")(main)
