"""Cohorts with the labels of a mixture."""

import numpy as np
import pytest

from common.errors import UserError
from server.participation.target import divergence, target
from tests.server.participation.schemes import participation


def test_divergence_from_a_target() -> None:
    """O-21 of the specification of the studies of Local SGD."""
    labels = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    towards = target(labels, np.array([0.6, 0.3, 0.1]))
    assert towards.tolist() == pytest.approx([0.75, 0.25])
    found = divergence(labels, towards)
    assert found.tolist() == pytest.approx([0.287682, 0.143841, 1.386294], abs=1e-6)
    weights = np.exp(-5 * found)
    assert (weights / weights.sum()).tolist() == pytest.approx([0.327127, 0.671527, 0.001346], abs=1e-6)


def test_target_calls_clients_with_its_labels() -> None:
    """With a mixture of one client the target is that client's labels; a client without data comes last."""
    counts = np.array([[30, 0, 0], [10, 10, 10], [0, 30, 0], [0, 0, 0], [0, 3, 27]])
    scheme = participation("target", count=5, alpha=1e-6)
    scheme.take_counts(counts.sum(axis=1), counts)
    probabilities = scheme.scheme.probabilities()
    assert probabilities is not None
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[3] == 0
    labels = counts / np.maximum(counts.sum(axis=1), 1)[:, np.newaxis]
    favourite = int(probabilities.argmax())
    np.testing.assert_allclose(
        np.log(probabilities[favourite] / probabilities[[0, 1, 2, 4]]),
        5 * divergence(labels[[0, 1, 2, 4]], labels[favourite]), rtol=1e-6,
    )  # fmt: skip
    drawn = np.zeros(5)
    for server_round in range(1, 4001):
        (client,) = scheme.cohort(server_round, 0.1)
        drawn[client] += 1
    np.testing.assert_allclose(drawn / 4000, probabilities, atol=0.03)
    assert sorted(scheme.cohort(1, 0.8)) == [0, 1, 2, 4]


def test_target_needs_labels() -> None:
    with pytest.raises(UserError, match="a label per sample"):
        participation("target", count=5).take_counts(np.full(5, 7), np.zeros((5, 0), dtype=np.int64))


def test_target_has_its_correction() -> None:
    counts = np.array([[30, 0], [10, 20], [0, 30], [0, 0]])
    scheme = participation("target", count=4, correction="inverse-inclusion")
    scheme.take_counts(counts.sum(axis=1), counts)
    inclusion = scheme.scheme.inclusion()
    assert inclusion is not None
    assert inclusion == pytest.approx(scheme.scheme.probabilities(), abs=0.01)  # cohorts of one
    assert scheme.weights([0, 1]) == pytest.approx({0: 1 / inclusion[0], 1: 1 / inclusion[1]})
