"""A random forest as surrogate of the classifier over short windows of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmac_td.features import SpectralFeatures
from lmac_td.interpreters.perturbation.base import OfSegments
from lmac_td.interpreters.perturbation.segments import Windows
from lmac_td.validation import require_count

# Of each variant: the share of the windows that is removed, in runs of this length. A
# sound that lasts longer than one window is then removed as a whole, too.
REMOVED_SHARES = (0.2, 0.3, 0.4)
RUNS = (1, 3, 5)
N_TREES = 100


class RandomForest(OfSegments):
    """How much a random forest that predicts the log-odds relies on each window.

    The best surrogate of a benchmark of time-localised explanations of audio
    classifiers (Bolaños et al., Interspeech 2025): windows of 100 ms are removed in
    runs, and a forest is fitted to the answers. Its importances have no sign. Here they
    take that of the difference between the mean answers with and without the window, so
    that a window that speaks against the class is not kept first.

    Arguments
    ---------
    features : SpectralFeatures
    segments : callable, optional
        By default windows of 100 ms.
    n_calls : int
        How many variants of a clip are classified.

    The other arguments are those of :class:`OfSegments`.
    """

    does = (
        "silences parts of the sound at random and fits a random forest to the answers"
    )

    def __init__(
        self,
        features: SpectralFeatures,
        segments: Callable[[Tensor, Tensor], Tensor] | None = None,
        n_calls: int = 500,
        **settings: Any,
    ) -> None:
        super().__init__(features, segments or Windows(features, 100), **settings)
        require_count("n_calls", n_calls)
        self.n_calls = n_calls

    def weights(self, log_odds: Callable[[Tensor], Tensor], n_segments: int) -> Tensor:
        """See :meth:`OfSegments.weights`."""
        from sklearn.ensemble import RandomForestRegressor

        kept = self.variants(n_segments)
        answers = log_odds(kept).double()
        forest = RandomForestRegressor(N_TREES, random_state=self.seed)
        forest.fit(kept.numpy(), answers.numpy())
        kept = kept.double()
        removed = 1 - kept
        with_it = (kept.T @ answers) / kept.sum(dim=0).clamp(min=1)
        without = (removed.T @ answers) / removed.sum(dim=0).clamp(min=1)
        importances = torch.from_numpy(forest.feature_importances_)
        return importances * (with_it - without).sign()

    def variants(self, n_segments: int) -> Tensor:
        """Draw which segments each variant keeps, (n_calls, S); the first keeps all."""
        generator = torch.Generator().manual_seed(self.seed)
        kept = torch.ones(self.n_calls, n_segments)
        for row in kept[1:]:
            share = REMOVED_SHARES[draw(len(REMOVED_SHARES), generator)]
            run = min(RUNS[draw(len(RUNS), generator)], n_segments)
            for _ in range(max(1, round(share * n_segments / run))):
                start = draw(n_segments - run + 1, generator)
                row[start : start + run] = 0
        return kept


def draw(n: int, generator: torch.Generator) -> int:
    """Draw a whole number below n."""
    return int(torch.randint(n, (1,), generator=generator))
