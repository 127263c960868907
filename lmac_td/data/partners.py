"""Find the clips that share no class with a clip, in a time that does not grow.

Clips have places, from 0. For a set of classes, the *candidates* are the places whose
clips have none of them. Counting the candidates takes one pass over the clips, once for
each set of classes. The k-th candidate is then found in one block of places.
"""

from collections.abc import Hashable, Iterable

import numpy as np

BLOCK = 2**15
"""Places in a block."""


class Candidates:
    """The places whose clips have none of some classes.

    Arguments
    ---------
    classes : iterable of set
        The classes of each clip, by place.

    Example
    -------
    >>> candidates = Candidates([{"dog"}, {"dog", "rain"}, {"cat"}, {"rain"}])
    >>> candidates.count(frozenset({"dog"}))
    2
    >>> [candidates.place(frozenset({"dog"}), k) for k in range(2)]
    [2, 3]
    """

    def __init__(self, classes: Iterable[Iterable[Hashable]]) -> None:
        places: dict[Hashable, list[int]] = {}
        self.n_places = 0
        for of_clip in classes:
            for name in of_clip:
                places.setdefault(name, []).append(self.n_places)
            self.n_places += 1
        self._places = {name: np.array(own) for name, own in places.items()}
        self._ends: dict[frozenset, np.ndarray] = {}

    def count(self, classes: frozenset) -> int:
        """Return the number of candidates."""
        return int(self._candidates_until(classes)[-1])

    def place(self, classes: frozenset, k: int) -> int:
        """Return the k-th candidate, counted from 0.

        Arguments
        ---------
        classes : frozenset
        k : int
            Less than their number.
        """
        until = self._candidates_until(classes)
        block = int(np.searchsorted(until, k, side="right"))
        k -= int(until[block - 1]) if block else 0
        first = block * BLOCK
        free = self._are_free(classes, first, first + BLOCK)
        return first + int(np.flatnonzero(free)[k])

    def _candidates_until(self, classes):
        """Return the number of candidates up to the end of each block."""
        if classes not in self._ends:
            free = self._are_free(classes, 0, self.n_places)
            firsts = range(0, max(1, self.n_places), BLOCK)
            counts = [np.count_nonzero(free[i : i + BLOCK]) for i in firsts]
            self._ends[classes] = np.cumsum(counts)
        return self._ends[classes]

    def _are_free(self, classes, first, end):
        """Return for each place of an interval whether it is a candidate."""
        free = np.ones(min(end, self.n_places) - first, dtype=bool)
        for name in classes:
            own = self._places[name]
            start, stop = np.searchsorted(own, (first, end))
            free[own[start:stop] - first] = False
        return free
