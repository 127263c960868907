"""Top-k fidelity equals its definition, and is a group of the common table."""

import pytest
import torch

from lmac_td.evaluation.columns import all_columns
from lmac_td.evaluation.invariants import check_invariants
from lmac_td.evaluation.rendering import table_to_markdown
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.metrics.fidelity import TOP_K, rank_of_class, top_k_fidelity
from tests.score_batches import batch, of_surrogate


def literal_top_k(logits, c, k):
    """Whether c is among the k classes with the largest logits."""
    best = sorted(range(len(logits)), key=lambda i: -logits[i])[:k]
    return 100.0 if c in best else 0.0


@pytest.mark.parametrize("k", TOP_K)
def test_equals_its_literal_twin(k):
    logits, c = torch.randn(50, 8), torch.randint(8, (50,))
    expected = [literal_top_k(*pair, k) for pair in zip(
        logits.tolist(), c.tolist(), strict=True
    )]  # fmt: skip
    assert top_k_fidelity(logits, c, k).tolist() == expected
    assert 0 < sum(expected) < 5000


def test_of_equal_logits_the_first_counts_as_larger():
    assert rank_of_class(torch.zeros(3, 4), torch.arange(3)).tolist() == [0, 1, 2]
    assert top_k_fidelity(torch.zeros(1, 4), torch.tensor([3]), 4).tolist() == [100]
    assert top_k_fidelity(torch.zeros(1, 4), torch.tensor([3]), 3).tolist() == [0]


def test_only_methods_with_a_surrogate_are_in_its_table():
    table, clips = FaithfulnessTable(n_resamples=20), batch()
    table.add(condition="clean", method="identity", **clips)
    logits = of_surrogate()["surrogate_logits"]
    table.add(condition="clean", method="flint", surrogate_logits=logits, **clips)
    check_invariants(table)
    found = [c.header for c in all_columns() if c.metric.needs == ("surrogate",)]
    assert found == [f"top-{k} fidelity (%) ↑" for k in TOP_K]
    means = table.means("clean", "flint")
    for k in TOP_K:
        expected = top_k_fidelity(logits, clips["explained"], k).mean().item()
        assert means[f"top-{k} fidelity"] == pytest.approx(expected)
    assert "top-1 fidelity" not in table.means("clean", "identity")
    own = table_to_markdown(table).split("**Fidelity of the surrogate**")[1]
    assert "| flint " in own
    assert "identity" not in own
