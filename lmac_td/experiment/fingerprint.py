"""The fingerprint of trained weights: it changes when they are trained again."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from lmac_td.files import sha256_of
from lmac_td.training.checkpoints import find_best

WEIGHTS = ("*.ckpt", "*.npy", "*.safetensors", "*.bin", "*.pt", "*.pth")


def fingerprint(folder: str | Path) -> str | None:
    """Return a hash of the contents of weights.

    Arguments
    ---------
    folder : str or Path
        Folder of a classifier, a dictionary or an interpreter; or a file of weights.

    Returns
    -------
    str or None
        The hash; None if the folder does not exist on this disk.
    """
    if Path(folder).is_file():
        files = [Path(folder)]
    else:
        files = [
            p for kind in WEIGHTS for p in sorted(Path(folder).glob(kind)) if p.exists()
        ]
        best = find_best(Path(folder) / "save")
        files += [best.paramfiles["interpreter"]] if best else []
    if not files:
        return None
    return sha256_of(*files)[:16]


def fingerprint_of_network(network: nn.Module) -> str:
    """Return a hash of the tensors of a network, wherever they came from.

    Arguments
    ---------
    network : torch.nn.Module
        Tensors may have any type. Without a ``state_dict`` it has none.
    """
    digest = hashlib.sha256()
    state = network.state_dict() if hasattr(network, "state_dict") else {}
    for name, tensor in state.items():
        digest.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            content = tensor.detach().cpu().flatten().contiguous().view(torch.uint8)
            digest.update(content.numpy())
    return digest.hexdigest()[:16]
