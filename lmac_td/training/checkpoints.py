"""Save, find and load checkpoints."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import Checkpoint, Checkpointer
from torch import nn

from lmac_td.errors import CheckpointError

logger = logging.getLogger(__name__)

PARTIAL = ".partial+"


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, with checkpoints that are complete or absent.

    SpeechBrain marks a folder as a checkpoint before it writes the weights: if a
    training is killed while it saves, it leaves an incomplete checkpoint and cannot be
    resumed. Here the folder gets its final name when it is complete.

    The arguments are those of ``speechbrain.utils.checkpoints.Checkpointer``.
    """

    def save_checkpoint(
        self, *args: Any, verbosity: int = logging.INFO, **kwargs: Any
    ) -> Checkpoint | None:
        """Save a checkpoint; see ``Checkpointer.save_checkpoint``."""
        for stale in self.checkpoints_dir.glob(f"{PARTIAL}*"):
            shutil.rmtree(stale, ignore_errors=True)
        partial = super().save_checkpoint(*args, verbosity=logging.DEBUG, **kwargs)
        if partial is None:  # not the main process
            return None
        whole = partial.path.with_name(partial.path.name.removeprefix(PARTIAL))
        os.replace(partial.path, whole)
        logger.log(verbosity, "Saved a checkpoint in %s", whole)
        paramfiles = {k: whole / path.name for k, path in partial.paramfiles.items()}
        return Checkpoint(whole, partial.meta, paramfiles)

    def _new_checkpoint_dirpath(self) -> Path:
        path = super()._new_checkpoint_dirpath()
        return path.with_name(PARTIAL + path.name)


def has_checkpoint(folder: str | Path) -> bool:
    """Return whether a folder holds a checkpoint, complete or not."""
    return any(Path(folder).glob("CKPT*"))


def find_best(folder: str | Path) -> Checkpoint | None:
    """Return the checkpoint with the lowest validation loss.

    Arguments
    ---------
    folder : str or Path
        The folder of the checkpoints; not created if it is missing.

    Returns
    -------
    speechbrain.utils.checkpoints.Checkpoint or None
        None if there is no checkpoint.
    """
    if not Path(folder).is_dir():
        return None
    return Checkpointer(folder).find_checkpoint(min_key="loss")


def load_best(
    make_checkpointer: Callable[[], Checkpointer], folder: str | Path, remedy: str
) -> int:
    """Load the checkpoint with the lowest validation loss.

    Arguments
    ---------
    make_checkpointer : callable
        Returns SpeechBrain's Checkpointer of ``folder``. It creates the folder, so it
        is only called if there is a checkpoint.
    folder : str or Path
        The folder of the checkpoints.
    remedy : str
        What the user can do if there is no checkpoint, for the error message.

    Returns
    -------
    int
        The epoch of the checkpoint.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or it belongs to a model with other settings.
    """
    checkpoint = find_best(folder)
    if checkpoint is None:
        raise CheckpointError(
            f"{folder} holds no checkpoint, so nothing was trained: {remedy}"
        )
    try:
        make_checkpointer().load_checkpoint(checkpoint)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint.path} is damaged or belongs to a model with other settings: "
            "give the settings of its training"
        ) from error
    return checkpoint.meta["epoch"]


def load_weights(module: nn.Module, name: str, folder: str | Path) -> int:
    """Load the weights of one module from the best checkpoint of another training.

    Arguments
    ---------
    module : torch.nn.Module
        Gets the weights.
    name : str
        The name of the module among the recoverables of the checkpoint.
    folder : str or Path
        The folder of the checkpoints.

    Returns
    -------
    int
        The epoch of the checkpoint.

    Raises
    ------
    CheckpointError
        See :func:`load_best`.
    """
    return load_best(
        lambda: Checkpointer(folder, {name: module}),
        folder,
        f"train it, or give another pretrained_{name}",
    )


@contextlib.contextmanager
def resume_message(checkpointer: Checkpointer) -> Iterator[None]:
    """Print from which checkpoint a training resumes.

    The block calls SpeechBrain's ``on_fit_start``, which loads the checkpoint.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer

    Raises
    ------
    CheckpointError
        If the last checkpoint belongs to a model with other settings.
    """
    checkpoint = checkpointer.find_checkpoint()
    try:
        yield
    except (RuntimeError, KeyError) as error:
        if checkpoint is None:
            raise
        raise CheckpointError(
            f"{checkpoint.path} is damaged or belongs to a model with other settings: "
            "give another --output_folder, or delete it to train from the start"
        ) from error
    if checkpoint is not None:
        epoch = checkpoint.meta.get("epoch")  # missing in the middle of an epoch
        where = f"after epoch {epoch}" if epoch else "in the middle of an epoch"
        print(f"Resuming {where} from {checkpoint.path}", flush=True)
