"""Find and load trained weights, with a clear word when there are none."""

import contextlib
from pathlib import Path

from lmac_td.errors import CheckpointError


def load_best(make_checkpointer, folder, train_command):
    """Load the checkpoint of the lowest validation loss.

    Arguments
    ---------
    make_checkpointer : callable
        Gives SpeechBrain's Checkpointer of ``folder``. It makes the folder, so it is
        called only where there is one.
    folder : str or Path
        Where the checkpoints are.
    train_command : str
        What to tell a user who has not trained yet.

    Returns
    -------
    int
        The epoch it was saved after.

    Raises
    ------
    CheckpointError
        If there is none, or it belongs to a model of other settings.
    """
    checkpoint = None
    if Path(folder).is_dir():
        checkpointer = make_checkpointer()
        checkpoint = checkpointer.find_checkpoint(min_key="loss")
    if checkpoint is None:
        raise CheckpointError(
            f"{folder} holds nothing that was trained: train it with `{train_command}`"
        )
    try:
        checkpointer.load_checkpoint(checkpoint)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint.path} belongs to a model of other settings: give those that "
            "it was trained with"
        ) from error
    return checkpoint.meta["epoch"]


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
            f"{checkpoint.path} belongs to a model of other settings: give another "
            "--output_folder, or delete it to train anew"
        ) from error
    if checkpoint is not None:
        print(
            f"Resuming after epoch {checkpoint.meta['epoch']} from {checkpoint.path}",
            flush=True,
        )
