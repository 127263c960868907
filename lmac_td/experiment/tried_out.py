"""``--debug``: a training is tried out with a few batches, and nothing is kept."""

import atexit
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping

from speechbrain.utils.run_opts import RunOptions

from lmac_td.runtime.distributed import on_main


def written_elsewhere(
    run_opts: RunOptions, given: Mapping[str, str]
) -> tuple[RunOptions, dict[str, str]]:
    """Let a training that is tried out write into a temporary folder.

    SpeechBrain moves the checkpoints alone. The log and the settings of a training in
    the output folder would be replaced.

    Arguments
    ---------
    run_opts : speechbrain.utils.run_opts.RunOptions
    given : mapping of str to str
        The settings of the command line.

    Returns
    -------
    RunOptions, dict of str to str
        With ``--debug`` the settings name a folder that is removed when the command
        ends; otherwise they are as they were.
    """
    if not run_opts.debug:
        return run_opts, dict(given)
    folder = on_main(_temporary_folder)
    # Else SpeechBrain would write the checkpoints into a folder of its own.
    overridden = {*run_opts.overridden_args, "debug_persistently"}
    run_opts = dataclasses.replace(
        run_opts, debug_persistently=True, overridden_args=overridden
    )
    folders = {"output_folder": folder, "save_folder": f"{folder}/save"}
    return run_opts, {**given, **folders}


def _temporary_folder() -> str:
    folder = tempfile.mkdtemp()
    # Of the main process, which may go on when the others have ended.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def nothing_kept(run_opts: RunOptions) -> str | None:
    """Return what a command says at its end with ``--debug``; otherwise None."""
    if not run_opts.debug:
        return None
    return (
        f"Tried out with --debug: at most {run_opts.debug_epochs} epochs of "
        f"{run_opts.debug_batches} batches. Nothing was kept."
    )
