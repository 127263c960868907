"""Save, find and load checkpoints; set damaged ones aside."""

import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from speechbrain.utils.checkpoints import METAFNAME, Checkpoint, Checkpointer
from speechbrain.utils.distributed import if_main_process
from torch import nn

from lmac_td.errors import CheckpointError, TrainingError, UserError
from lmac_td.reading import read_text
from lmac_td.runtime.distributed import n_processes, on_main, wait_for_all
from lmac_td.runtime.loading import first_not_finite, weights_only
from lmac_td.training.checksums import LARGEST, find_damage, write_checksums

logger = logging.getLogger(__name__)

PARTIAL, DELETED, DAMAGED = ".partial+", ".deleted+", "DAMAGED+"
KEPT = 2  # the newest checkpoints; the one with the lowest loss is kept, too


class WholeCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, with checkpoints that are complete or absent.

    SpeechBrain marks a folder as a checkpoint before it writes the weights: if a
    training is killed while it saves, it leaves an incomplete checkpoint and cannot be
    resumed. Here the folder gets its final name when it is complete, and loses it
    before it is deleted. Checksums are verified before a checkpoint is loaded. A
    damaged one is renamed, with a warning, and the one before it is used. The two
    newest are kept, and the one with the lowest loss; newer means further in the
    training, whatever the clock said.

    Of several processes the main one writes, verifies and chooses; each process also
    saves and loads what is its own, such as the states of its generators.

    The arguments are those of ``speechbrain.utils.checkpoints.Checkpointer``.

    Attributes
    ----------
    loaded : Checkpoint or None
        The last checkpoint that was loaded.
    """

    loaded: Checkpoint | None = None

    def save_checkpoint(
        self,
        meta: Mapping[str, Any] | None = None,
        *args: Any,
        verbosity: int = logging.INFO,
        **kwargs: Any,
    ) -> Checkpoint | None:
        """Save a checkpoint; see ``Checkpointer.save_checkpoint``.

        Raises
        ------
        TrainingError
            If weights are not finite. Nothing is saved then.
        """
        self.check_finite()
        self.tidy()
        meta = dict(meta or {})
        if n_processes() > 1:
            meta["processes"] = n_processes()
        partial = super().save_checkpoint(
            meta, *args, verbosity=logging.DEBUG, **kwargs
        )
        wait_for_all()  # each process has saved its own state
        whole = on_main(self._complete, partial, verbosity)
        return whole if if_main_process() else None

    def _complete(self, partial: Checkpoint, verbosity: int) -> Checkpoint:
        """Give a checkpoint that is written its checksums and its name."""
        write_checksums(partial.path)
        whole = partial.path.with_name(partial.path.name.removeprefix(PARTIAL))
        os.replace(partial.path, whole)
        logger.log(verbosity, "Saved a checkpoint in %s", whole)
        paramfiles = {k: whole / path.name for k, path in partial.paramfiles.items()}
        return Checkpoint(whole, partial.meta, paramfiles)

    def _new_checkpoint_dirpath(self) -> Path:
        path = super()._new_checkpoint_dirpath()
        return path.with_name(PARTIAL + path.name)

    def check_finite(self) -> None:
        """Refuse weights that are not finite.

        Raises
        ------
        TrainingError
        """
        for name, module in self.recoverables.items():
            if _is_broken(module):
                raise TrainingError(
                    f"the weights of {name} are not finite any more, so they are not "
                    f"saved: the checkpoints in {self.checkpoints_dir} are as they "
                    "were; train into another --output_folder with a lower --lr"
                )

    def tidy(self) -> None:
        """Remove what was left when a process was killed while it saved or deleted."""
        if if_main_process():
            for kind in (PARTIAL, DELETED):
                for stale in self.checkpoints_dir.glob(f"{kind}*"):
                    shutil.rmtree(stale, ignore_errors=True)

    def list_checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints, newest first; see :func:`list_checkpoints`."""
        return list_checkpoints(self.checkpoints_dir)

    def find_checkpoint(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        """Find a whole checkpoint; see ``Checkpointer.find_checkpoint``.

        Raises
        ------
        CheckpointError
            If there are checkpoints, and all are damaged.
        """
        return on_main(self._find_whole, *args, **kwargs)

    def _find_whole(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        had_any = has_checkpoint(self.checkpoints_dir)
        found = first_whole(self.find_checkpoints(*args, **kwargs))
        if found is None and had_any and not has_checkpoint(self.checkpoints_dir):
            raise _all_are_damaged(self.checkpoints_dir)
        return found

    def find_checkpoints(
        self,
        importance_key: Callable | None = None,
        max_key: str | None = None,
        min_key: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> list[Checkpoint]:
        """Find checkpoints, by default newest first, without verifying them."""
        if not (importance_key or max_key or min_key):
            importance_key = progress
        return super().find_checkpoints(
            importance_key, max_key, min_key, *args, **kwargs
        )

    def delete_checkpoints(
        self, *, verbosity: int = logging.INFO, **others: Any
    ) -> None:
        """Delete all but the two newest and the one with the lowest loss.

        SpeechBrain's other arguments have no effect.
        """
        on_main(self._delete, verbosity)

    def _delete(self, verbosity: int) -> None:
        found = self.list_checkpoints()
        kept = {c.path for c in (*found[:KEPT], *_by_loss(found)[:1])}
        for checkpoint in found:
            if checkpoint.path not in kept:
                # Emptied under another name, so that no process finds half of it.
                hidden = self.checkpoints_dir / f"{DELETED}{checkpoint.path.name}"
                os.replace(checkpoint.path, hidden)
                shutil.rmtree(hidden, ignore_errors=True)
                logger.log(verbosity, "Deleted %s", checkpoint.path)

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint; nothing in it is executed.

        Raises
        ------
        CheckpointError
            If it belongs to a model with other settings, weights are not finite, or
            another number of processes saved it in the middle of an epoch.
        """
        _check_number_of_processes(checkpoint)
        try:
            with weights_only():
                super().load_checkpoint(checkpoint)
        except (UserError, OSError):
            raise
        except Exception as error:  # of any loader of a recoverable
            raise CheckpointError(
                f"{checkpoint.path} is damaged or belongs to a model with other "
                "settings: give the settings of its training, or another "
                "--output_folder"
            ) from error
        for name, module in self.recoverables.items():
            if _is_broken(module):
                raise CheckpointError(
                    f"{checkpoint.path} holds weights of {name} that are not finite: "
                    "train again into another --output_folder, with a lower --lr"
                )
        self.loaded = checkpoint


def _is_broken(recoverable: object) -> bool:
    """Return whether it is a module with weights that are not finite."""
    is_module = isinstance(recoverable, nn.Module)
    return is_module and first_not_finite(recoverable.state_dict()) is not None


def _check_number_of_processes(checkpoint: Checkpoint) -> None:
    """Refuse another number of processes than the one that an epoch was divided by."""
    saved, now = checkpoint.meta.get("processes", 1), n_processes()
    if not checkpoint.meta["end-of-epoch"] and saved != now:
        raise CheckpointError(
            f"{checkpoint.path} was saved in the middle of an epoch by {saved} "
            f"process{'es' if saved > 1 else ''}, not {now}: give the number of "
            "processes that its training had, or another --output_folder"
        )


def progress(checkpoint: Checkpoint) -> tuple[float, float, float]:
    """Return how far a training was: finished epochs, steps of the next one, time.

    Example
    -------
    >>> late = {"unixtime": 0.0, "end-of-epoch": True, "epoch": 3}
    >>> early = {"unixtime": 1.0, "end-of-epoch": False, "epoch": 3, "step": 7}
    >>> progress(Checkpoint(None, late, {})), progress(Checkpoint(None, early, {}))
    ((3, 0, 0.0), (2, 7, 1.0))
    """
    meta = checkpoint.meta
    if meta["end-of-epoch"]:
        return meta.get("epoch", 0), 0, meta["unixtime"]
    return meta.get("epoch", 1) - 1, meta.get("step", 0), meta["unixtime"]


def has_checkpoint(folder: str | Path) -> bool:
    """Return whether a folder holds a checkpoint, whole or damaged."""
    return any(Path(folder).glob("CKPT*"))


def list_checkpoints(folder: str | Path) -> list[Checkpoint]:
    """List the checkpoints of a folder, newest first.

    Those whose description cannot be read are set aside; the others' weights are not
    verified, see :func:`first_whole`.

    Arguments
    ---------
    folder : str or Path

    Returns
    -------
    list of speechbrain.utils.checkpoints.Checkpoint
    """
    found = []
    for path in Path(folder).glob("CKPT*"):
        meta = _read_meta(path)
        if meta is None:
            _set_aside(path, find_damage(path, [METAFNAME]) or f"{METAFNAME} is wrong")
            continue
        files = {file.stem: file for file in path.glob("*.ckpt")}
        found.append(Checkpoint(path, meta, files))
    return sorted(found, key=progress, reverse=True)


def _read_meta(path: Path) -> dict | None:
    """Read the description of a checkpoint; None if it is damaged."""
    try:
        if find_damage(path, [METAFNAME]) is not None:
            return None
        meta = yaml.safe_load(read_text(path / METAFNAME, LARGEST))
    except (FileNotFoundError, ValueError, yaml.YAMLError, RecursionError):
        return None
    numbers = ("unixtime", "epoch", "step", "loss")
    is_right = isinstance(meta, dict) and {"unixtime", "end-of-epoch"} <= set(meta)
    if not is_right or not all(
        isinstance(meta.get(name, 0), (int, float)) for name in numbers
    ):
        return None
    return meta


def first_whole(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """Return the first checkpoint whose files are as they were written.

    Those before it are damaged: they are renamed, with a warning.
    """
    for checkpoint in checkpoints:
        damage = find_damage(checkpoint.path)
        if damage is None:
            return checkpoint
        _set_aside(checkpoint.path, damage)
    return None


def _set_aside(path: Path, damage: str) -> None:
    """Rename a damaged checkpoint, so that it is not used and not lost."""
    aside = path.with_name(DAMAGED + path.name)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{DAMAGED}{path.name}+{number}")
    try:
        os.rename(path, aside)
        where = f"renamed to {aside.name}"
    except FileNotFoundError:
        return  # its training has just deleted it
    except OSError as error:  # such as a folder that may only be read
        where = f"not renamed ({error.strerror})"
    logger.warning(
        "%s is damaged (%s): it is %s, and the checkpoint before it is used",
        path,
        damage,
        where,
    )


def _all_are_damaged(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"no checkpoint in {folder} can be used: all are damaged, and renamed to "
        f"{DAMAGED}*; restore one from a copy, or give the training's command again to "
        "train from the start"
    )


def _by_loss(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Sort newest-first checkpoints that have a finite loss by it."""
    scored = [c for c in checkpoints if math.isfinite(c.meta.get("loss", math.nan))]
    return sorted(scored, key=lambda checkpoint: checkpoint.meta["loss"])


def find_best(folder: str | Path) -> Checkpoint | None:
    """Return the whole checkpoint with the lowest validation loss.

    Arguments
    ---------
    folder : str or Path
        The folder of the checkpoints; not created if it is missing.

    Returns
    -------
    speechbrain.utils.checkpoints.Checkpoint or None
        None if there is none with a finite loss.
    """
    return first_whole(_by_loss(list_checkpoints(folder)))


def load_best(
    make_checkpointer: Callable[[], Checkpointer], folder: str | Path, remedy: str
) -> int:
    """Load the checkpoint with the lowest validation loss.

    Arguments
    ---------
    make_checkpointer : callable
        Returns the Checkpointer of ``folder``. It creates the folder, so it is only
        called if there is a checkpoint.
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
        If there is no checkpoint, all are damaged, or it belongs to a model with other
        settings.
    """
    had_any = has_checkpoint(folder)
    checkpoint = find_best(folder)
    if checkpoint is not None:
        make_checkpointer().load_checkpoint(checkpoint)
        return checkpoint.meta["epoch"]
    if not had_any:
        raise CheckpointError(
            f"{folder} holds no checkpoint, so nothing was trained: {remedy}"
        )
    if not has_checkpoint(folder):
        raise _all_are_damaged(Path(folder))
    raise CheckpointError(
        f"{folder} holds no whole checkpoint with a finite validation loss: {remedy}"
    )


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
        lambda: WholeCheckpointer(folder, {name: module}),
        folder,
        f"train it, or give another pretrained_{name}",
    )


def resume_message(meta: Mapping[str, Any]) -> str:
    """Say where a training resumes, from the description of its checkpoint.

    Example
    -------
    >>> resume_message({"end-of-epoch": True, "epoch": 2})
    'after epoch 2'
    >>> resume_message({"end-of-epoch": False, "epoch": 3, "step": 17})
    'in epoch 3, after step 17'
    """
    if meta["end-of-epoch"]:
        return f"after epoch {meta.get('epoch', '?')}"
    if "epoch" not in meta:  # of an earlier version
        return "in the middle of an epoch"
    return f"in epoch {meta['epoch']}, after step {meta['step']}"
