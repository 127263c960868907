"""What is done with every explained batch besides the common table.

:func:`lmac_td.evaluation.loop.evaluate` calls an observer with (condition, method,
decided, explained). One keeps samples, one collects a method-specific table, one runs
metrics of Quantus.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from lmac_td.report.samples import save_samples


def all_of(*observers: Callable) -> Callable:
    """Return one observer that calls several, in order; None is skipped."""
    observers = [observer for observer in observers if observer is not None]

    def on_batch(condition, method, decided, explained):
        for observer in observers:
            observer(condition, method, decided, explained)

    return on_batch


def sample_keeper(
    folder: Path,
    interpreters: dict,
    spectral_features,
    class_names: list,
    clip_ids: Collection[str],
) -> Callable:
    """Save samples of some methods, see :func:`lmac_td.report.samples.save_samples`.

    Arguments
    ---------
    folder : Path
        Receives a folder per condition and, of several methods, one a method in it.
    interpreters : dict of str to Interpreter
        The methods whose samples are saved.
    spectral_features : SpectralFeatures
    class_names : list of str
        Of the data set.
    clip_ids : collection of str
        The clips that are saved.
    """

    def on_batch(condition, method, decided, explained):
        if method in interpreters:
            save_samples(
                folder / condition / (method if len(interpreters) > 1 else ""),
                decided,
                explained,
                spectral_features,
                class_names,
                clip_ids,
                parts=interpreters[method].parts,
            )

    return on_batch


def method_table_filler(method_table, interpreters: dict) -> Callable | None:
    """Collect a method-specific table, such as L2I's; None if there is none.

    Arguments
    ---------
    method_table : object or None
        Its ``add(condition, decided, explained, interpreter)`` is called.
    interpreters : dict of str to Interpreter
        The methods that it is of.
    """
    if method_table is None:
        return None

    def on_batch(condition, method, decided, explained):
        if method in interpreters:
            method_table.add(condition, decided, explained, interpreters[method])

    return on_batch


def without_target_filler(method_table, interpreters: dict) -> Callable | None:
    """Show a method-specific table the clips without a target; None if it has no use.

    Arguments
    ---------
    method_table : object or None
        Its ``add_without_target(condition, decided, interpreter)`` is called, where it
        has one.
    interpreters : dict of str to Interpreter
        The methods that it is of.
    """
    if not hasattr(method_table, "add_without_target"):
        return None

    def on_without_target(condition, decided):
        for interpreter in interpreters.values():
            method_table.add_without_target(condition, decided, interpreter)

    return on_without_target


def quantus_scorer(quantus, interpreters: dict) -> Callable | None:
    """Run metrics of Quantus on every batch; None if none were asked for.

    Arguments
    ---------
    quantus : QuantusScores or None
    interpreters : dict of str to Interpreter
        All rows of the table.
    """
    if quantus is None:
        return None

    def on_batch(condition, method, decided, explained):
        clip_ids = decided.clip_ids
        quantus.add(condition, method, clip_ids, explained, interpreters[method])

    return on_batch
