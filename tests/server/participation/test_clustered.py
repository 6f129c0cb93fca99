"""One client of each group of similar ones."""

import json

import numpy as np
import pytest

from common.errors import UserError
from common.sections import Value
from server.participation import Participation
from tests.common.configs import make_config
from tests.server.participation.schemes import changes


class TestClustered:
    # Six clients of class 0, three of class 1, one that has both.
    COUNTS = np.array([[8, 0]] * 6 + [[0, 4]] * 3 + [[5, 5]])

    def scheme(self, **parameters: Value) -> Participation:
        made = Participation(
            make_config(
                {"participation.name": "clustered", "clients.count": 10, "clients.fraction": 0.3},
                {f"participation.{key}": value for key, value in parameters.items()},
            )
        )
        made.take_counts(self.COUNTS.sum(axis=1), self.COUNTS)
        return made

    def test_every_cohort_has_one_client_of_each_group(self) -> None:
        scheme = self.scheme()
        cohorts = [scheme.cohort(number, 0.3) for number in range(1, 200)]
        for first, second, third in cohorts:
            assert first < 6 <= second < 9 == third
        assert {cohort[0] for cohort in cohorts} == set(range(6))
        inclusion = scheme.scheme.inclusion()
        assert inclusion is not None
        assert inclusion.tolist() == [1 / 6] * 6 + [1 / 3] * 3 + [1.0]

    def test_the_correction_makes_the_sum_unbiased(self) -> None:
        assert self.scheme().weights([0, 6, 9]) == {}
        assert self.scheme(correction="inverse-inclusion").weights([0, 6, 9]) == pytest.approx(
            {0: 6.0, 6: 3.0, 9: 1.0}
        )

    @pytest.mark.parametrize(("fraction", "size"), [(0.1, 1), (1.0, 10)])
    def test_one_group_and_one_client_per_group(self, fraction: float, size: int) -> None:
        made = Participation(
            make_config(
                {"participation.name": "clustered", "clients.count": 10, "clients.fraction": fraction}, {}
            )
        )
        made.take_counts(self.COUNTS.sum(axis=1), self.COUNTS)
        assert len(made.cohort(1, fraction)) == size

    def test_it_needs_labels(self) -> None:
        with pytest.raises(UserError, match="needs data with a label per sample"):
            self.scheme().take_counts(np.ones(10, dtype=np.int64), np.zeros((10, 1), dtype=np.int64))


def test_groups_by_updates() -> None:
    def made() -> Participation:
        return Participation(
            make_config(
                {"participation.name": "clustered", "clients.count": 8, "clients.fraction": 0.25},
                {"participation.similarity": "updates", "participation.correction": "inverse-inclusion"},
            )
        )

    scheme = made()
    assert not scheme.scheme.looks_at_labels
    for number in range(1, 20):  # nothing is known: even and odd clients
        assert sum(client % 2 for client in scheme.cohort(number, 0.25)) == 1
    scheme.observe(1, changes({0: [1, 0.1], 1: [5, 0.2], 2: [9, 0], 3: [0.1, 2], 4: [7, 1], 5: [3, 0.1]}))
    cohorts = [scheme.cohort(number, 0.25) for number in range(2, 60)]
    # Client 3 goes its own way; of the unknown ones 6 joins the first group and 7 the second.
    assert {client for cohort in cohorts for client in cohort if client in (3, 7)} == {3, 7}
    assert all(len({3, 7} & set(cohort)) == 1 for cohort in cohorts)
    assert scheme.weights([0, 3, 6, 7]) == pytest.approx({0: 6, 3: 2, 6: 6, 7: 2})
    resumed = made()
    resumed.restore(json.loads(json.dumps(scheme.state())))
    assert [resumed.cohort(number, 0.25) for number in range(2, 60)] == cohorts
