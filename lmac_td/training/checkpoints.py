"""Save trained weights whole, find and load them, say clearly when there are none."""

import contextlib
import logging
import os
import shutil
from pathlib import Path

from speechbrain.utils.checkpoints import Checkpoint, Checkpointer

from lmac_td.errors import CheckpointError

logger = logging.getLogger(__name__)

PARTIAL = ".partial+"


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, whose checkpoints appear whole or not at all.

    SpeechBrain writes the file that makes a folder a checkpoint first: a training that
    is killed while it saves leaves half a checkpoint, and cannot be resumed. Here the
    folder gets its name when all is in it.

    Arguments
    ---------
    As of ``speechbrain.utils.checkpoints.Checkpointer``.
    """

    def save_checkpoint(self, *args, verbosity=logging.INFO, **kwargs):
        """See ``Checkpointer.save_checkpoint``."""
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

    def _new_checkpoint_dirpath(self):
        path = super()._new_checkpoint_dirpath()
        return path.with_name(PARTIAL + path.name)


def find_best(folder):
    """The checkpoint of the lowest validation loss of a training.

    Arguments
    ---------
    folder : str or Path

    Returns
    -------
    speechbrain.utils.checkpoints.Checkpoint or None
        None where there is none; no folder is made.
    """
    if not Path(folder).is_dir():
        return None
    return Checkpointer(folder).find_checkpoint(min_key="loss")


def load_best(make_checkpointer, folder, remedy):
    """Load the checkpoint of the lowest validation loss.

    Arguments
    ---------
    make_checkpointer : callable
        Gives SpeechBrain's Checkpointer of ``folder``. It makes the folder, so it is
        called only where there is one.
    folder : str or Path
        Where the checkpoints are.
    remedy : str
        What a user who has not trained yet should do.

    Returns
    -------
    int
        The epoch it was saved after.

    Raises
    ------
    CheckpointError
        If there is none, or it belongs to a model of other settings.
    """
    checkpoint = find_best(folder)
    if checkpoint is None:
        raise CheckpointError(f"{folder} holds nothing that was trained: {remedy}")
    try:
        make_checkpointer().load_checkpoint(checkpoint)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint.path} is damaged or belongs to a model of other settings: "
            "give those that it was trained with"
        ) from error
    return checkpoint.meta["epoch"]


def load_weights(module, name, folder):
    """Load one recoverable of the best checkpoint of another training.

    Arguments
    ---------
    module : torch.nn.Module
    name : str
        Of the recoverable.
    folder : str or Path
        Where the checkpoints of that training are.

    Returns
    -------
    int
        The epoch that they were saved after.

    Raises
    ------
    CheckpointError
        As :func:`load_best`.
    """
    return load_best(
        lambda: Checkpointer(folder, {name: module}),
        folder,
        f"train it, or give another pretrained_{name}",
    )


@contextlib.contextmanager
def resume_message(checkpointer):
    """Around SpeechBrain's ``on_fit_start``, which resumes: say so, or why it fails.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer

    Raises
    ------
    CheckpointError
        If the last checkpoint belongs to a model of other settings.
    """
    checkpoint = checkpointer.find_checkpoint()
    try:
        yield
    except (RuntimeError, KeyError) as error:
        if checkpoint is None:
            raise
        raise CheckpointError(
            f"{checkpoint.path} is damaged or belongs to a model of other settings: "
            "give another --output_folder, or delete it to train anew"
        ) from error
    if checkpoint is not None:
        epoch = checkpoint.meta.get("epoch")  # SpeechBrain's mid-epoch ones tell none
        where = f"after epoch {epoch}" if epoch else "in the middle of an epoch"
        print(f"Resuming {where} from {checkpoint.path}", flush=True)
