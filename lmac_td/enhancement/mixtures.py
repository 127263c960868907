"""Noisy speech: utterances in noise, at ratios that one distribution gives.

"The distribution of SNR values is the same across all conditions" (Sivasankaran et al.,
section 5.1). A small data set can give several mixtures of each utterance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from lmac_td.data.datasets import OUTPUT_KEYS, Mixer
from lmac_td.data.epoch_seeds import EpochSeededDataset
from lmac_td.data.mixing import mix_batch
from lmac_td.data.prepare import PreparedData
from lmac_td.random import seeded_generator
from lmac_td.reading import read_json


def mixture_dataset(
    data: PreparedData,
    split: str,
    condition: str,
    snr_range_db: tuple[float, float],
    per_utterance: int = 1,
    purpose: str = "mixture",
) -> EpochSeededDataset:
    """Make the dataset of a split, with several mixtures of each utterance.

    ``train`` has new mixtures in each epoch; the other splits have the same ones every
    time.

    Arguments
    ---------
    data : PreparedData
    split : str
    condition : str
        The noise.
    snr_range_db : (float, float)
        Lowest and highest dB that are added to the ratio of the condition.
    per_utterance : int
        Mixtures of each utterance.
    purpose : str
        Datasets with another purpose have other mixtures.

    Returns
    -------
    EpochSeededDataset
        Its items are those of :func:`lmac_td.data.datasets.make_dataset`. Mixtures of
        all utterances come first, then second ones of all, and so on.
    """
    utterances = read_json(data.manifests[split])
    dataset = EpochSeededDataset(
        {
            f"{name}~{purpose}{copy}": clip | {"utterance": name}
            for copy in range(per_utterance)
            for name, clip in utterances.items()
        }
    )
    mixer = Mixer(
        condition,
        data.interference[condition, split],
        data.conditions[condition].snr_db,
        mixing_seed=None if split == "train" else data.mixing_seed,
        clean_probability=0.0,
        snr_range_db=tuple(snr_range_db),
    )
    dataset.add_dynamic_item(
        mixer,
        takes=["id", "wav", "n_samples", "epoch_seed"],
        provides=["clip", "interference", "snr_db"],
    )
    dataset.set_output_keys(OUTPUT_KEYS)
    return dataset


@dataclass(frozen=True)
class NoisySpeech:
    """An utterance in noise, without padding: mixture = speech + noise (eq. 2).

    Attributes
    ----------
    name : str
        Of the mixture.
    utterance : str
    transcript : str or None
        What is said, where it is known.
    snr_db : float
        Power of the speech over the power of the noise, in dB.
    mixture, speech, noise : Tensor (T,)
    """

    name: str
    utterance: str
    transcript: str | None
    snr_db: float
    mixture: Tensor
    speech: Tensor
    noise: Tensor


def draw_mixtures(
    data: PreparedData,
    split: str,
    condition: str,
    snr_range_db: tuple[float, float],
    n: int,
    purpose: str,
    device: str | torch.device = "cpu",
) -> list[NoisySpeech]:
    """Draw mixtures of random utterances of a split: each utterance equally often.

    Arguments
    ---------
    data, split, condition, snr_range_db, purpose
        As in :func:`mixture_dataset`; the split is not ``train``.
    n : int
        Number of mixtures.
    device : str or torch.device
        Where they are mixed.

    Returns
    -------
    list of NoisySpeech
        The same ones every time. If ``n`` is not a multiple of the number of
        utterances, some have one mixture more than the others.
    """
    n_utterances = len(read_json(data.manifests[split]))
    dataset = mixture_dataset(
        data, split, condition, snr_range_db, -(-n // n_utterances), purpose
    )
    order = torch.randperm(
        n_utterances, generator=seeded_generator(purpose, split, data.mixing_seed)
    ).tolist()
    places = (first + place for first in range(0, n, n_utterances) for place in order)
    return [_mixed(dataset, place, device) for place in itertools.islice(places, n)]


def _mixed(
    dataset: EpochSeededDataset, place: int, device: str | torch.device
) -> NoisySpeech:
    item, name = dataset[place], dataset.data_ids[place]
    entry = dataset.data[name]
    n_samples = item["n_samples"]
    mixed = mix_batch(
        item["clip"][None, :n_samples].to(device),
        item["interference"][None, :n_samples].to(device),
        torch.tensor([item["snr_db"]], device=device),
        [name],
    )
    return NoisySpeech(
        name,
        entry["utterance"],
        entry.get("transcript"),
        item["snr_db"],
        *(part[0] for part in mixed[:3]),
    )
