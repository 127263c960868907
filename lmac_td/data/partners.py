"""Find the clips that share no class with a clip, in a time that does not grow.

Clips have places, from 0. For a set of classes, the *candidates* are the places whose
clips have none of them. How many of the first n clips have one of the classes S follows
from how many have all classes of T, for each T in S:

    n(any of S)  =  sum over T of S, not empty:  (-1)^(|T| + 1) n(all of T).

The places of each T are sorted, so that each n(all of T) is found by bisection. Sets of
more than four classes would have too many subsets: their candidates are counted by a
pass over the clips, once for each set. So are all sets of several classes if a clip has
more than twelve classes.
"""

import itertools
from array import array
from collections.abc import Collection, Hashable, Iterable

import numpy as np

BLOCK = 2**15
"""Places in a block."""
MOST = 4
"""Classes of which all subsets are looked up."""
_MOST_OF_A_CLIP = 12
_BITS = 15  # of a class in the number of a subset


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

    def __init__(self, classes: Iterable[Collection[Hashable]]) -> None:
        self._numbers: dict[Hashable, int] = {}
        of_size: dict[int, tuple[array, array]] = {}  # clips' classes and places
        self.n_places = 0
        for of_clip in classes:
            numbers = sorted(
                self._numbers.setdefault(name, len(self._numbers) + 1)
                for name in of_clip
            )
            both = array("q"), array("q")
            rows, places = of_size.setdefault(len(numbers), both)
            rows.extend(numbers)
            places.append(self.n_places)
            self.n_places += 1
        few = max(of_size, default=0) <= _MOST_OF_A_CLIP
        self._most = MOST if few and len(self._numbers) < 2**_BITS else 1
        found = _places_of_subsets(of_size, self._most)
        self._subsets, self._starts, self._places = found
        # Of the type of places, which are copied to be compared with another one.
        firsts = np.arange(0, max(1, self.n_places), BLOCK, dtype=self._places.dtype)
        self._block_ends = np.minimum(firsts + BLOCK, self.n_places)
        self._passed: dict[frozenset, np.ndarray] = {}

    def count(self, classes: frozenset) -> int:
        """Return the number of candidates."""
        if len(classes) > self._most:
            return int(self._candidates_until(classes)[-1])
        return self.n_places - sum(
            sign * len(places) for sign, places in self._signed_places(classes)
        )

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
        if len(classes) > self._most:
            return self._by_passing(classes)
        ends = self._block_ends
        until = ends.copy()
        for sign, places in self._signed_places(classes):
            until -= sign * np.searchsorted(places, ends)
        return until

    def _by_passing(self, classes):
        if classes not in self._passed:
            counts = [
                np.count_nonzero(self._are_free(classes, end - BLOCK, end))
                for end in range(BLOCK, len(self._block_ends) * BLOCK + 1, BLOCK)
            ]
            self._passed[classes] = np.cumsum(counts)
        return self._passed[classes]

    def _signed_places(self, classes):
        """Yield the places of each subset, with the sign of its term."""
        numbers = sorted(self._numbers[name] for name in classes)
        for size in range(1, len(numbers) + 1):
            sign = 1 if size % 2 else -1
            for subset in itertools.combinations(numbers, size):
                yield sign, self._places_of(subset)

    def _places_of(self, subset):
        """Return the places (n,) of clips with all classes of a subset, in order."""
        key = _number_of(subset)
        i = int(np.searchsorted(self._subsets, key))
        if i == len(self._subsets) or self._subsets[i] != key:
            return self._places[:0]
        return self._places[self._starts[i] : self._starts[i + 1]]

    def _are_free(self, classes, first, end):
        """Return for each place of an interval whether it is a candidate."""
        free = np.ones(min(end, self.n_places) - first, dtype=bool)
        for name in classes:
            own = self._places_of((self._numbers[name],))
            ends = np.array((first, end), dtype=own.dtype)
            start, stop = np.searchsorted(own, ends)
            free[own[start:stop] - first] = False
        return free


def _places_of_subsets(of_size, most):
    """Return subsets (K,) in order, and the places of each in one array, by starts.

    Arguments
    ---------
    of_size : dict of int to (array of int, array of int)
        By their number of classes: the classes of clips, one clip after the other, and
        the clips' places.
    most : int
        Classes of a subset.
    """
    keys, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    for size, (rows, own) in of_size.items():
        own = np.frombuffer(own, np.int64).astype(np.int32)
        columns = np.frombuffer(rows, np.int64).reshape(len(own), size).T
        for n_chosen in range(1, min(size, most) + 1):
            for chosen in itertools.combinations(columns, n_chosen):
                keys.append(_number_of(chosen))
                places.append(own)
    keys, places = np.concatenate(keys), np.concatenate(places)
    order = np.lexsort((places, keys))
    subsets, starts = np.unique(keys[order], return_index=True)
    return subsets, np.append(starts, len(keys)), places[order]


def _number_of(subset):
    """Return one number for up to four classes in ascending order (or for columns)."""
    number = 0
    for own in subset:
        number = (number << _BITS) | own
    return number
