"""The metrics of the common table: what each is called, needs and returns.

Every file of this package registers its metrics below the functions that compute them;
a new one needs nothing else: files, printed tables, comparisons and invariants read the
registry. A metric's function takes one :class:`ScoreInputs`, all that one batch of
explanations offers, and returns one value per entry (B,).

**Add a metric.** Put it into a file of your own, say ``my_metrics.py``::

    from lmac_td.metrics.registry import Metric, register

    def silent_share(scored):
        # (B, T) -> (B,)
        return (scored.interpretation.abs() < 1e-3).double().mean(dim=1)

    register(Metric("silent share", decimals=3, better=None, range=(0, 1),
                    function=silent_share))

and name that file in a recipe (it must lie where Python finds modules, such as
beside ``eval_faithfulness.py``)::

    extends: hparams/lmac_td.yaml
    metrics: !module:my_metrics

The column comes last in its group, here the first. In Python, ``import
my_metrics`` before the evaluation does the same. Results that were made without it
stay readable: their cells are empty.

Example
-------
>>> [metric.name for metric in registered() if "equal_size" in metric.needs][:2]
['insertion', 'deletion']
>>> find("AD").printed_header
'AD (%) ↓'
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lmac_td.metrics.score_inputs import NEEDS, ScoreInputs

FAITHFULNESS, GROUND_TRUTH, EQUAL_SIZE = "faithfulness", "ground truth", "equal size"
SECOND_CLASSIFIER, SURROGATE = "second classifier", "fidelity of the surrogate"
GROUPS = (FAITHFULNESS, GROUND_TRUTH, EQUAL_SIZE, SECOND_CLASSIFIER, SURROGATE)
# When a value may be undefined (NaN): never, where the map is zero everywhere, or also
# for other reasons that the function's docstring gives.
NEVER, ZERO_MAP, SOMETIMES = "never", "zero map", "sometimes"
_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}


@dataclass(frozen=True)
class Metric:
    """One column of the table, or one for each of its statistics.

    Attributes
    ----------
    name : str
        Name of the column in files.
    function : callable
        :class:`ScoreInputs` -> Tensor (B,), one value per entry.
    header : str or None
        Header of the printed column, without the arrow; by default the name.
    decimals : int
        That are printed.
    better : str or None
        ``higher``, ``lower`` or None.
    range : (float, float)
        The lowest and the highest value that an entry can have; a table with another
        one is refused.
    tolerance : float
        How far rounding may take a value out of its range.
    undefined : str
        When a value may be NaN: ``never``, where the map is zero everywhere (``zero
        map``) or for other reasons as well (``sometimes``).
    needs : tuple of str
        What the batch must offer, else the row has no such column: ``sources``,
        ``stft_mask``, ``equal_size``, ``equal_amplitude``, ``second_classifier``,
        ``frame_times`` or ``surrogate``.
    group : str
        The printed table that it belongs to.
    statistics : tuple of str
        Over clips: ``mean``, ``median``; a printed column each.
    printed : bool
        False for what only files keep.
    """

    name: str
    function: Callable[[ScoreInputs], Tensor]
    header: str | None = None
    decimals: int = 3
    better: str | None = None
    range: tuple[float, float] = (-torch.inf, torch.inf)
    tolerance: float = 0.0
    undefined: str = NEVER
    needs: tuple[str, ...] = ()
    group: str = FAITHFULNESS
    statistics: tuple[str, ...] = ("mean",)
    printed: bool = True

    def __post_init__(self):
        for name, value, choices in (
            ("better", self.better, _ARROWS),
            ("undefined", self.undefined, (NEVER, ZERO_MAP, SOMETIMES)),
            *(("needs", need, NEEDS) for need in self.needs),
            *(("statistics", s, ("mean", "median")) for s in self.statistics),
        ):
            if value not in choices:
                raise ValueError(
                    f"metric {self.name!r}: {name} must be one of {list(choices)}, not "
                    f"{value!r}."
                )

    @property
    def printed_header(self) -> str:
        """The header with an arrow for what is better."""
        return (self.header or self.name) + _ARROWS[self.better]


# Metrics that were registered together, and the one that they follow.
_BLOCKS: list[tuple[str | None, tuple[Metric, ...]]] = []


def register(*metrics: Metric, after: str | None = None) -> None:
    """Add metrics to the common table, next to each other.

    Arguments
    ---------
    *metrics : Metric
    after : str, optional
        Name of the metric that they follow; by default they stand at the end of their
        group.

    Raises
    ------
    ValueError
        If there is one of such a name.
    """
    names = {metric.name for _, block in _BLOCKS for metric in block}
    for metric in metrics:
        if metric.name in names:
            raise ValueError(f"there is a metric {metric.name!r} already.")
        names.add(metric.name)
    _BLOCKS.append((after, metrics))


def registered() -> list[Metric]:
    """Return all metrics in the order of the table.

    Raises
    ------
    ValueError
        If one is to follow a metric that there is not.
    """
    found = [metric for after, block in _BLOCKS if after is None for metric in block]
    waiting = [(after, block) for after, block in _BLOCKS if after is not None]
    while waiting:
        places = {metric.name: place for place, metric in enumerate(found, start=1)}
        ready = next((item for item in waiting if item[0] in places), None)
        if ready is None:
            after, block = waiting[0]
            raise ValueError(
                f"metric {block[0].name!r} is to follow {after!r}, which is not "
                "registered."
            )
        after, block = ready
        found[places[after] : places[after]] = block
        waiting.remove(ready)
    groups = dict.fromkeys((*GROUPS, *(metric.group for metric in found)))
    return [metric for group in groups for metric in found if metric.group == group]


def find(name: str) -> Metric:
    """Return the metric with a name.

    Raises
    ------
    KeyError
        If there is none.
    """
    return {metric.name: metric for metric in registered()}[name]


def measure(scored: ScoreInputs) -> dict[str, Tensor]:
    """Compute every metric whose needs the batch meets.

    Arguments
    ---------
    scored : ScoreInputs

    Returns
    -------
    dict of str to Tensor (B,)
        By name, in the order of the table.

    Raises
    ------
    ValueError
        If a metric does not return one value per entry, or refuses what it is given.

    Example
    -------
    >>> p, wavs = torch.tensor([[0.75, 0.25]]), torch.rand(1, 16)
    >>> scored = ScoreInputs(
    ...     explained=torch.tensor([0]),
    ...     p_x=p,
    ...     p_in=p,
    ...     p_out=1 - p,
    ...     wavs=wavs,
    ...     interpretation=wavs,
    ...     residual=torch.zeros_like(wavs),
    ...     attribution=torch.rand(1, 3, 4),
    ... )
    >>> measure(scored)["FF"]
    tensor([0.5000])
    """
    return dict(_measured(scored))


def _measured(scored) -> Iterator[tuple[str, Tensor]]:
    for metric in registered():
        if all(scored.offers(need) for need in metric.needs):
            values = metric.function(scored)
            if values.shape != (len(scored),):
                raise ValueError(
                    f"metric {metric.name!r} must return one value per entry, "
                    f"({len(scored)},), not {tuple(values.shape)}."
                )
            yield metric.name, values
