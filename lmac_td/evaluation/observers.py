"""Observers of explained batches: what is done with them besides the common table.

:func:`lmac_td.evaluation.loop.evaluate` calls an observer with (condition, method,
decided, explained). One saves samples, one fills a method-specific table, one runs
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
    """Return an observer that saves samples of some methods with ``save_samples``.

    Arguments
    ---------
    folder : Path
        Receives one folder per condition; with several methods, each has a subfolder.
    interpreters : dict of str to Interpreter
        The methods whose samples are saved.
    spectral_features : SpectralFeatures
    class_names : list of str
        Class names of the data set.
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
    """Return an observer that fills a method-specific table; None without a table.

    Arguments
    ---------
    method_table : object or None
        Its ``add(condition, decided, explained, interpreter)`` is called.
    interpreters : dict of str to Interpreter
        The methods that the table is about.
    """
    if method_table is None:
        return None

    def on_batch(condition, method, decided, explained):
        if method in interpreters:
            method_table.add(condition, decided, explained, interpreters[method])

    return on_batch


def without_target_filler(method_table, interpreters: dict) -> Callable | None:
    """Return an observer that adds clips without a target to a method's table.

    Arguments
    ---------
    method_table : object or None
        Its ``add_without_target(condition, decided, interpreter)`` is called, if it
        has one; otherwise the result is None.
    interpreters : dict of str to Interpreter
        The methods that the table is about.
    """
    if not hasattr(method_table, "add_without_target"):
        return None

    def on_without_target(condition, decided):
        for interpreter in interpreters.values():
            method_table.add_without_target(condition, decided, interpreter)

    return on_without_target


def quantus_scorer(quantus, interpreters: dict) -> Callable | None:
    """Return an observer that runs metrics of Quantus; None without ``quantus``.

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
