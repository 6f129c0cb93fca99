"""Oort's utility, exploration and pacer."""

import json
import math
import time

import numpy as np
import pytest

from common.sections import Value
from server.participation import Participation
from server.participation._scheme import Feedback
from server.participation.oort import Oort, staleness_bonus, statistical_utility, system_penalty
from tests.common.configs import make_config
from tests.server.participation.schemes import seen


class TestOort:
    def scheme(self, count: int = 10, fraction: float = 0.3, **parameters: Value) -> Participation:
        made = Participation(
            make_config(
                {"participation.name": "oort", "clients.count": count, "clients.fraction": fraction},
                {f"participation.{key.replace('_', '-')}": value for key, value in parameters.items()},
            )
        )
        made.num_examples = np.full(count, 4)
        return made

    def test_utility_penalty_and_bonus(self) -> None:
        """Losses 1, 2, 2, 4; 20 seconds where 10 are preferred; round 10, last called in round 4."""
        assert statistical_utility(4, (1 + 4 + 4 + 16) / 4) == 10
        assert 10 * system_penalty(np.array([20.0, 10.0, 5.0]), 10.0, 2.0) == pytest.approx([2.5, 10, 10])
        assert staleness_bonus(10, np.array([4])) == pytest.approx([0.2399262956], abs=1e-10)

    def test_the_share_of_explorers_falls_to_its_least(self) -> None:
        scheme = self.scheme(1000, 0.1)
        known: set[int] = set()
        for server_round, new in ((1, 100), (2, round(90 * 0.98)), (3, round(90 * 0.98**2))):
            cohort = set(scheme.cohort(server_round, 0.1))
            assert len(cohort - known) == new
            known |= cohort
            scheme.observe(server_round, seen(dict.fromkeys(cohort, 1.0)))
        assert len(set(scheme.cohort(500, 0.1)) - known) == 20

    def test_the_useful_and_fast_are_exploited(self) -> None:
        scheme = self.scheme(exploration=0.0, exploration_min=0.0, clip_percentile=100.0)
        feedback = seen({client: 1.0 + client for client in range(10)})
        feedback[9] = Feedback(feedback[9].metrics, seconds=10.0)
        feedback[0] = Feedback({"train_loss": 1.0, "train_squared_loss": 100.0})
        scheme.cohort(1, 0.3)
        scheme.observe(1, feedback)
        # Utilities 40, 8, 12, ..., 36 and 40 / 100. By rank 0, 8, 7 are in; 95 % of 32 lets nobody else in.
        assert scheme.cohort(2, 0.3) == [0, 7, 8]
        # With a low cut-off everybody may be drawn, in proportion.
        wide = self.scheme(exploration=0.0, exploration_min=0.0, cut_off=0.0, penalty=0.0, pacer_window=10**6)
        wide.cohort(1, 0.3)
        wide.observe(1, seen({0: 1.0} | dict.fromkeys(range(1, 10), 3.0)))
        counts = np.zeros(10)
        for server_round in range(2, 1002):
            counts[wide.cohort(server_round, 0.1)] += 1
        values = np.array([4.0] + [12.0] * 9) + math.sqrt(0.1 * math.log(500))
        assert counts / 1000 == pytest.approx(values / values.sum(), abs=0.04)

    def test_outliers_are_clipped(self) -> None:
        scheme = self.scheme(exploration=0.0, exploration_min=0.0, cut_off=1.0, clip_percentile=50.0)
        scheme.cohort(1, 0.3)
        scheme.observe(1, seen({client: 1.0 + 1000 * (client > 3) for client in range(10)}))
        assert min(len({tuple(scheme.cohort(number, 0.3)) for number in range(2, 30)}), 2) == 2
        assert all(min(scheme.cohort(number, 0.3)) > 3 for number in range(2, 30))

    def test_the_pacer_gives_more_time_when_utility_falls(self) -> None:
        scheme = self.scheme(pacer_window=2, pacer_step=3.0)
        oort = scheme.scheme
        assert isinstance(oort, Oort)
        found = []
        for server_round, loss in enumerate([2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5], start=1):
            scheme.cohort(server_round, 0.3)
            scheme.observe(server_round, seen({0: loss}))
            found.append(oort.preferred_seconds)
        assert found == [3, 3, 3, 6, 6, 6, 6, 9]

    def test_it_resumes(self) -> None:
        whole = self.scheme(pacer_window=2)
        for server_round in range(1, 8):
            cohort = whole.cohort(server_round, 0.3)
            losses = {client: {"train_loss": 1 / (client + server_round)} for client in cohort}
            whole.observe(server_round, {k: Feedback(loss, 0.5 * k + 0.1) for k, loss in losses.items()})
        resumed = self.scheme(pacer_window=2)
        resumed.restore(json.loads(json.dumps(whole.state())))
        for server_round in range(8, 12):
            assert resumed.cohort(server_round, 0.3) == whole.cohort(server_round, 0.3)

    def test_a_million_clients(self) -> None:
        scheme = self.scheme(1_000_000, 0.0001)
        cohort = scheme.cohort(1, 0.0001)
        scheme.observe(1, seen(dict.fromkeys(cohort, 1.0)))
        started = time.process_time()
        assert len(scheme.cohort(2, 0.0001)) == 100
        assert time.process_time() - started < 2
