"""Power of choice, by hand."""

import json
import math

import numpy as np
import pytest

from server.participation._sampling import inclusion_probabilities
from server.participation.power_of_choice import largest
from tests.server.participation.schemes import Losses, message_of, participation, seen

INCLUSION_OF_TWO = [0.8392857143, 0.675, 0.4857142857]


class TestPowerOfChoice:
    def test_the_largest_losses_are_chosen(self) -> None:
        assert largest({0: 0.9, 2: 1.7, 3: 0.2, 5: 1.1}, 2) == [2, 5]
        assert largest({4: 1.0, 1: 1.0, 9: 1.0, 2: 0.5}, 2) == [1, 4]

    @pytest.mark.parametrize(("variant", "one_batch"), [("pow-d", False), ("cpow-d", True)])
    def test_candidates_are_asked(self, variant: str, one_batch: bool) -> None:
        scheme = participation("power-of-choice", candidates=30, variant=variant)
        losses = Losses({client: float(client % 10) for client in range(100)})
        cohort = scheme.cohort(1, 0.1, ask_losses=losses)
        ((candidates, asked_for_one_batch),) = losses.asked
        assert asked_for_one_batch is one_batch
        assert len(set(candidates)) == 30
        assert candidates == sorted(candidates)
        assert cohort == sorted(sorted(candidates, key=lambda client: (-(client % 10), client))[:10])

    def test_candidates_are_drawn_by_their_samples(self) -> None:
        scheme = participation("power-of-choice", count=3, candidates=2)
        scheme.num_examples = np.array([50, 30, 20])
        counts = np.zeros(3)
        for server_round in range(1, 4001):
            losses = Losses(dict.fromkeys(range(3), 1.0))
            scheme.cohort(server_round, 0.1, ask_losses=losses)
            counts[losses.asked[0][0]] += 1
        assert counts / 4000 == pytest.approx(INCLUSION_OF_TWO, abs=0.04)

    def test_as_many_candidates_as_places_is_weighted_random_selection(self) -> None:
        scheme = participation("power-of-choice", count=30, candidates=3)
        scheme.num_examples = np.arange(1, 31)
        losses = Losses({})
        cohorts = [scheme.cohort(server_round, 0.1, ask_losses=losses) for server_round in range(1, 2001)]
        assert losses.asked == []
        inclusion = inclusion_probabilities(np.log(scheme.num_examples), 3, np.random.default_rng(0))
        counts = np.bincount(np.ravel(cohorts), minlength=30)
        assert counts / 2000 == pytest.approx(inclusion, abs=5 * math.sqrt(0.2 / 2000))

    def test_who_does_not_answer_is_not_chosen(self) -> None:
        scheme = participation("power-of-choice", candidates=30)
        everyone = Losses(dict.fromkeys(range(100), 1.0))
        scheme.cohort(1, 0.1, ask_losses=everyone)
        candidates = everyone.asked[0][0]
        answering = Losses(dict.fromkeys(candidates[25:], 0.1))
        assert scheme.cohort(1, 0.1, ask_losses=answering) == candidates[25:]

    def test_rpow_d_remembers(self) -> None:
        scheme = participation("power-of-choice", count=10, candidates=10, variant="rpow-d")
        assert scheme.cohort(1, 0.2) == [0, 1]  # nothing is known: all infinite
        scheme.observe(1, seen({0: 1.0, 1: 2.0}))
        assert scheme.cohort(2, 0.2) == [2, 3]
        scheme.observe(1, seen({client: client / 10 for client in range(10)}))
        assert scheme.cohort(3, 0.2) == [8, 9]
        scheme.observe(1, seen({8: 0.05}))
        resumed = participation("power-of-choice", count=10, candidates=10, variant="rpow-d")
        resumed.restore(json.loads(json.dumps(scheme.state())))
        assert resumed.cohort(4, 0.2) == scheme.cohort(4, 0.2) == [7, 9]

    def test_others_remember_nothing(self) -> None:
        scheme = participation("power-of-choice")
        scheme.observe(1, seen({1: 2.0}))
        assert scheme.state() == {}

    @pytest.mark.parametrize("candidates", [9, 101])
    def test_the_number_of_candidates_must_be_possible(self, candidates: int) -> None:
        message = message_of("power-of-choice", candidates=candidates)
        assert message == (
            "participation.candidates must lie between the cohort's size (10) and clients.count (100),"
            f" got {candidates}"
        )

    def test_the_default_is_twice_the_cohort_as_far_as_there_are_clients(self) -> None:
        losses = Losses(dict.fromkeys(range(100), 1.0))
        participation("power-of-choice").cohort(1, 0.1, ask_losses=losses)
        participation("power-of-choice", count=1).cohort(1, 0.1, ask_losses=losses)
        assert [len(asked) for asked, _ in losses.asked] == [20]
