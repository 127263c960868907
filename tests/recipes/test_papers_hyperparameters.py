"""The hyperparameters of the papers, in a table of their own.

Where a recipe departs from its paper on purpose, the value of the published preset or
the reason stands beside it.
"""

import pytest

from lmac_td.experiment.recipe import compose
from tests.conftest import ROOT

LMAC_TD = "Mancini et al., LMAC-TD, section III"
LMAC = "Paissan et al., L-MAC, section 4"
L2I = "Parekh et al., Listen to Interpret, section 4.2"
FLINT = "the authors' release of FLINT, for CIFAR-10"
VIBI = "the authors' release of VIBI, for MNIST"
SPEECHBRAIN = "SpeechBrain's recipes/ESC50/interpret"
RELEASE = "the authors' release of LMAC-TD"

PAPERS = [
    ("lmac_td", "alpha", 0.75, LMAC_TD),
    ("lmac_td", "l_in_w", 5, LMAC_TD),
    ("lmac_td", "l_out_w", 0.2, LMAC_TD),
    ("lmac_td", "reg_w_l1", 6, LMAC_TD),
    ("lmac_td", "regulariser", "mean", f"{LMAC_TD}: of |STFT(i)|"),
    ("lmac_td", "train_fold_nums", [1, 2, 3], LMAC_TD),
    ("lmac_td", "valid_fold_nums", [4], LMAC_TD),
    ("lmac_td", "wham_snr_db", 0, LMAC_TD),
    ("lmac_td", "mixtures_snr_db", 5, LMAC_TD),
    ("lmac_td", "white_noise_snr_db", 3, LMAC_TD),
    ("lmac_td", "speech_snr_db", 3, LMAC_TD),
    ("lmac_td", "encoder_channels", 256, RELEASE),
    ("lmac_td", "masknet_layers", 2, RELEASE),
    ("lmac_td", "intra_layers", 8, RELEASE),
    ("lmac_td", "inter_layers", 2, RELEASE),
    ("published/lmac_td", "kernel_size", 16, RELEASE),
    ("published/lmac_td", "chunk_size", 250, RELEASE),
    ("published/lmac_td", "geometry", "published", RELEASE),
    ("published/lmac_td", "test_fold_nums", [4, 5], f"{LMAC_TD}: both are scored"),
    ("lmac", "mask_domain", "magnitude", f"{LMAC}, eq. 2"),
    ("lmac", "l_in_w", 4, SPEECHBRAIN),
    ("lmac", "l_out_w", 0.2, SPEECHBRAIN),
    # A sum over a batch of 16 with weight 0.4 is a mean over clips with weight 6.4.
    ("lmac", "reg_w_l1", 16 * 0.4, SPEECHBRAIN),
    ("lmac", "batch_size", 16, SPEECHBRAIN),
    ("lmac_finetune", "g_w", 4, f"{LMAC}: 4, 16 and 32"),
    ("lmac_finetune", "cct", 0.6, f"{LMAC}: 0.6 and 0.7"),
    ("l2i", "nmf_w", 10, f"{L2I}: alpha"),
    ("l2i", "reg_w_l1", 0.8, f"{L2I}: beta"),
    ("l2i", "pooling", "att", f"{L2I}: attention"),
    ("l2i", "mask_domain", "log1p", f"{L2I}, Algorithm 2"),
    ("l2i", "removal_thresholds", [0.1, 0.3, 0.5, 0.7, 0.9], f"{L2I}, Table 1"),
    ("nmf", "n_components", 100, f"{L2I}: K for ESC-50"),
    ("nmf", "sparsity", 0.8, "the authors' release of L2I: mu"),
    ("flint", "output_w", 0.6, FLINT),
    ("flint", "input_w", 2, FLINT),
    ("flint", "entropy_w", 0.2, FLINT),
    ("flint", "reg_w_l1", 0.15, FLINT),
    ("vibi", "bottleneck_w", 0.1, VIBI),
    ("vibi", "temperature", 0.5, VIBI),
    ("vibi", "explainer_width", 8, VIBI),
    ("vibi", "approximator_width", 32, VIBI),
    *(
        (recipe, name, value, "the papers' STFT: 23.2 ms windows, 11.6 ms apart")
        for recipe in ("lmac_td", "lmac", "l2i")
        for name, value in {
            "sample_rate": 16000,
            "n_fft": 1024,
            "win_length": 23.2199,
            "hop_length": 11.6099,
            "n_mels": 80,
        }.items()
    ),
]


@pytest.mark.parametrize(
    ("recipe", "name", "value", "source"), PAPERS, ids=lambda item: str(item)[:40]
)
def test_a_recipe_has_the_hyperparameters_of_its_paper(recipe, name, value, source):
    assert compose(ROOT / "hparams" / f"{recipe}.yaml")[name] == value, source


def test_the_unseen_fold_is_scored_by_default():
    for recipe in ("lmac_td", "lmac", "l2i", "baselines"):
        tree = compose(ROOT / "hparams" / f"{recipe}.yaml")
        assert tree["test_fold_nums"] == [5]
        tree = compose(ROOT / "hparams" / f"{recipe}.yaml", {"data": "published"})
        assert tree["test_fold_nums"] == [4, 5]
