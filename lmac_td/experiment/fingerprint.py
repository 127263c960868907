"""The fingerprint of trained weights: it changes when they are trained again."""

import hashlib
from pathlib import Path

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
        files = [p for kind in WEIGHTS for p in sorted(Path(folder).glob(kind))]
        best = find_best(Path(folder) / "save")
        files += [best.paramfiles["interpreter"]] if best else []
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]
