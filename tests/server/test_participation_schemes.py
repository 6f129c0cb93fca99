"""What each participation scheme draws."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.sections import Value
from server.participation import Participation
from server.participation._sampling import gumbel_top, inclusion_probabilities
from server.participation._scheme import Feedback
from server.participation._sketch import sketch
from server.participation.oort import Oort, staleness_bonus, statistical_utility, system_penalty
from server.participation.power_of_choice import largest
from server.participation.schedule import read_schedule
from server.participation.target import divergence, target
from tests.common.configs import make_config

P = np.array([0.5, 0.3, 0.2])
INCLUSION_OF_TWO = [0.8392857143, 0.675, 0.4857142857]


def participation(name: str, count: int = 100, seed: int = 0, **parameters: Value) -> Participation:
    spelled = {f"participation.{key.replace('_', '-')}": value for key, value in parameters.items()}
    return Participation(
        make_config(
            {"participation.name": name, "clients.count": count, "clients.fraction": 0.1, "seed": seed},
            spelled,
        )
    )


def message_of(name: str, count: int = 100, **parameters: Value) -> str:
    with pytest.raises(UserError) as raised:
        participation(name, count, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def seen(losses: Mapping[int, float]) -> dict[int, Feedback]:
    """Return what a round shows of clients with these losses."""
    return {client: Feedback({"train_loss": loss}) for client, loss in losses.items()}


class Losses:
    """Clients that report the losses they are given, and remember who was asked."""

    def __init__(self, losses: Mapping[int, float]) -> None:
        self.losses = losses
        self.asked: list[tuple[list[int], bool]] = []

    def __call__(self, clients: Sequence[int], one_batch: bool) -> Mapping[int, float]:
        self.asked.append((list(clients), one_batch))
        return {client: self.losses[client] for client in clients if client in self.losses}


class TestSampling:
    @pytest.mark.parametrize(("size", "expected"), [(1, P), (2, INCLUSION_OF_TWO), (3, [1.0] * 3)])
    def test_inclusion_of_sequential_draws(self, size: int, expected: Sequence[float]) -> None:
        draws = gumbel_top(np.broadcast_to(np.log(P), (200_000, 3)), size, np.random.default_rng(0))
        assert draws.shape == (200_000, size)
        frequencies = np.bincount(draws.ravel(), minlength=3) / 200_000
        assert frequencies == pytest.approx(expected, abs=0.005)
        # The same distribution whatever the scale of the weights.
        estimated = inclusion_probabilities(np.log(P) - 1000, size, np.random.default_rng(0), 200_000)
        assert estimated == pytest.approx(expected, abs=0.003)

    def test_draws_come_in_order(self) -> None:
        first = gumbel_top(np.broadcast_to(np.log(P), (200_000, 3)), 3, np.random.default_rng(1))[:, 0]
        assert np.bincount(first) / 200_000 == pytest.approx(P, abs=0.005)

    def test_inclusion_probabilities_of_rare_clients_are_not_zero(self) -> None:
        estimated = inclusion_probabilities(np.log([0.5, 0.5, 1e-9]), 1, np.random.default_rng(0))
        assert estimated[2] == pytest.approx(1e-9, rel=0.05)  # counting 20,000 draws would give 0
        # Weights far below the smallest number: the order is certain.
        estimated = inclusion_probabilities(np.array([0.0, -2e4, -1e4]), 2, np.random.default_rng(0))
        assert estimated.tolist() == [1.0, 0.0, 1.0]

    def test_inclusion_probabilities_of_many_clients_need_few_draws(self) -> None:
        log_weights = np.log(np.tile([1.0, 3.0], 20_000))
        estimated = inclusion_probabilities(log_weights, 40, np.random.default_rng(0))
        # Of a cohort that is a thousandth of all, pi is m p to first order: 40 / 80,000 and three times that.
        assert estimated[::2] == pytest.approx(0.0005, rel=0.005)
        assert estimated[1::2] == pytest.approx(0.0015, rel=0.005)

    @given(st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=12), st.data(), st.integers(0, 2**32 - 1))
    @settings(deadline=None, max_examples=50)
    def test_invariants(self, log_weights: list[float], data: st.DataObject, seed: int) -> None:
        size = data.draw(st.integers(1, len(log_weights)))
        weights = np.array(log_weights)
        drawn = gumbel_top(weights, size, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == size
        inclusion = inclusion_probabilities(weights, size, np.random.default_rng(seed), 500)
        assert np.isfinite(inclusion).all()
        assert ((inclusion >= 0) & (inclusion <= 1)).all()
        assert inclusion.sum() == pytest.approx(size, abs=0.3)


def test_uniform_cohorts_are_what_they_always_were() -> None:
    scheme = participation("uniform")
    assert scheme.cohort(1, 0.1) == [2, 8, 16, 25, 29, 41, 47, 58, 82, 98]
    assert scheme.cohort(1, 0.1, "evaluation") == [0, 1, 13, 15, 36, 38, 54, 71, 78, 84]


class TestSkewed:
    def test_probabilities_are_drawn_once_and_are_a_distribution(self) -> None:
        scheme = participation("skewed", gamma=0.1)
        before = scheme.scheme.probabilities()
        assert before is not None
        cohort = scheme.cohort(5, 0.1)
        for server_round in range(1, 30):
            scheme.cohort(server_round, 0.1)
        assert scheme.cohort(5, 0.1) == cohort == participation("skewed", gamma=0.1).cohort(5, 0.1)
        after = scheme.scheme.probabilities()
        assert after is not None
        assert after.tolist() == before.tolist()
        assert before.sum() == pytest.approx(1)

    def test_seed_and_round_decide(self) -> None:
        assert len({tuple(participation("skewed", seed=seed).cohort(1, 0.1)) for seed in range(10)}) == 10
        scheme = participation("skewed")
        assert len({tuple(scheme.cohort(server_round, 0.1)) for server_round in range(1, 30)}) == 29

    @pytest.mark.parametrize("gamma", [1e-38, 1e-8, 0.05])
    def test_tiny_gamma_always_finds_a_cohort(self, gamma: float) -> None:
        scheme = participation("skewed", gamma=gamma)
        for server_round in range(1, 200):
            cohort = scheme.cohort(server_round, 0.1)
            assert len(set(cohort)) == 10
        p, inclusion = scheme.scheme.probabilities(), scheme.scheme.inclusion()
        assert p is not None
        assert inclusion is not None
        assert p.sum() == pytest.approx(1)
        assert inclusion.sum() == pytest.approx(10, abs=0.1)
        if gamma < 0.01:  # sequential draws are certain
            assert np.flatnonzero(inclusion > 0.5).tolist() == cohort

    def test_large_gamma_is_uniform(self) -> None:
        scheme = participation("skewed", gamma=1e12).scheme
        inclusion = scheme.inclusion()
        assert inclusion == pytest.approx(np.full(100, 0.1), abs=1e-3)

    def test_cohorts_have_the_inclusion_probabilities(self) -> None:
        scheme = participation("skewed", count=20, gamma=0.5)
        inclusion = scheme.scheme.inclusion()
        assert inclusion is not None
        counts = np.zeros(20)
        for server_round in range(1, 4001):
            counts[scheme.cohort(server_round, 0.1)] += 1
        assert counts / 4000 == pytest.approx(inclusion, abs=5 * math.sqrt(0.25 / 4000))

    @pytest.mark.parametrize(
        ("gamma", "low", "high"), [(0.05, 2, 20), (0.5, 25, 45), (1, 40, 65), (5, 75, 92), (1e6, 99.9, 100)]
    )
    def test_effective_number_of_clients(self, gamma: float, low: float, high: float) -> None:
        numbers = []
        for seed in range(5):
            p = participation("skewed", gamma=gamma, seed=seed).scheme.probabilities()
            assert p is not None
            numbers.append(1 / (p**2).sum())
        # E[sum p^2] = (gamma + 1) / (K gamma + 1).
        assert low < np.mean(numbers) < high

    def test_the_evaluation_cohort_stays_uniform(self) -> None:
        cohorts = [participation(name).cohort(3, 0.2, "evaluation") for name in ("skewed", "uniform")]
        assert cohorts[0] == cohorts[1]

    def test_correction_is_the_inverse_of_inclusion(self) -> None:
        assert participation("skewed").weights([0, 5]) == {}
        scheme = participation("skewed", gamma=0.5, correction="inverse-inclusion")
        inclusion = scheme.scheme.inclusion()
        assert inclusion is not None
        weights = scheme.weights([3, 50])
        assert weights == {client: pytest.approx(1 / inclusion[client]) for client in (3, 50)}
        # Cohorts, p and inclusion are those of the run without a correction.
        plain = participation("skewed", gamma=0.5)
        assert plain.cohort(1, 0.1) == scheme.cohort(1, 0.1)

    def test_inverse_inclusion_is_unbiased(self) -> None:
        # The Horvitz-Thompson total: sum over the cohort of y_i / pi_i has the mean sum y_i.
        scheme = participation("skewed", count=20, gamma=1.0, correction="inverse-inclusion")
        values = np.arange(1.0, 21.0)
        totals = []
        for server_round in range(1, 4001):
            weights = scheme.weights(scheme.cohort(server_round, 0.1))
            totals.append(sum(weight * values[client] for client, weight in weights.items()))
        error = np.std(totals) / math.sqrt(len(totals))
        assert abs(np.mean(totals) - values.sum()) < 5 * error
        assert error < 0.1 * values.sum()

    @pytest.mark.parametrize("gamma", [0.0, -1.0, -5])
    def test_gamma_must_be_positive(self, gamma: float) -> None:
        assert message_of("skewed", gamma=gamma).startswith("participation.gamma must be greater than 0")


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


def test_loss_proportional() -> None:
    scheme = participation("loss-proportional", count=3)
    scheme.observe(1, seen({0: 5.0, 1: 2.0}))
    # The third counts as 5: probabilities 5/12, 2/12, 5/12.
    counts = np.zeros(3)
    for server_round in range(1, 4001):
        counts[scheme.cohort(server_round, 0.1)] += 1
    assert counts / 4000 == pytest.approx([5 / 12, 2 / 12, 5 / 12], abs=0.04)
    fresh = participation("loss-proportional")
    assert len(set(fresh.cohort(1, 0.1))) == 10
    fresh.observe(1, seen(dict.fromkeys(range(100), 0.0)))
    assert len(set(fresh.cohort(1, 0.1))) == 10


def test_periodic_groups_take_turns() -> None:
    """ "4,10" of 8 clients: ten rounds of clients 0-3, ten of 4-7, and again."""
    scheme = participation("periodic", count=8, group_size=4, period=10)
    turns = [scheme.cohort(server_round, 0.1) for server_round in range(1, 31)]
    assert turns == [[0, 1, 2, 3]] * 10 + [[4, 5, 6, 7]] * 10 + [[0, 1, 2, 3]] * 10
    assert "does not divide clients.count, which is 8" in message_of("periodic", count=8, group_size=3)


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
    scheme.setup(counts.sum(axis=1), counts)
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
        participation("target", count=5).setup(np.full(5, 7), np.zeros((5, 0), dtype=np.int64))


class TestSchedule:
    CSV = "round,client_id,num_examples,loss\n2,7,30,0.5\n1,4,30,0.1\n2,0,30,1.5\n1,7,3,2\n"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("clients.csv", CSV),
            ("cohorts.json", '{"2": [7, 0], "1": [4, 7]}'),
            ("cohorts.json", "[[7, 4], [0, 7]]"),
        ],
    )
    def test_files(self, name: str, text: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        assert read_schedule(tmp_path / name) == {1: [4, 7], 2: [0, 7]}

    def cohorts(self, path: Path, **layer: Value) -> Participation:
        return Participation(
            make_config(
                {
                    "participation.name": "schedule",
                    "participation.file": str(path),
                    "clients.count": 8,
                    "rounds": 2,
                },
                layer,
            )
        )

    def test_the_cohorts_are_the_files(self, tmp_path: Path) -> None:
        path = tmp_path / "clients.csv"
        path.write_text(self.CSV)
        scheme = self.cohorts(path)
        assert [scheme.cohort(server_round, 0.5) for server_round in (1, 2)] == [[4, 7], [0, 7]]
        assert len(scheme.cohort(1, 0.5, "evaluation")) == 4

    @pytest.mark.parametrize(
        ("name", "text", "complaint"),
        [
            ("a.csv", CSV.replace("round", "runde"), "is not a schedule"),
            ("a.csv", CSV.replace("7", "seven"), "is not a schedule"),
            ("a.csv", "", r"is not a schedule \(it has no column round\)"),
            ("a.csv", "round,client_id\n", "no cohort for round 1"),
            ("a.csv", "round,client_id\n1\n", "'' is not a client id"),
            ("a.csv", "round,client_id\n1,1_0\n", "'1_0' is not a client id"),
            ("a.csv", "round,client_id\n1,9999999999999999999\n", "'9999999999999999999' is not a client id"),
            ("a.json", "{", "is not valid JSON"),
            ("a.json", "3", r"is not a schedule \(it is neither a list nor an object\)"),
            ("a.json", '{"1": 3}', "the cohort of round 1 is 3, not a list"),
            ("a.json", '{"1": [0], "1": [1]}', "'1' stands in one object twice"),
            ("a.json", '{"one": [0]}', "'one' is not a round"),
            ("a.json", "[[1.5], [2]]", "1.5 is not a client id"),
            ("a.json", "[[1], [true]]", "True is not a client id"),
            ("a.json", "[[1]]", "no cohort for round 2; lower rounds"),
            ("a.json", "[[1], []]", "no cohort for round 2"),
            ("a.json", "[[1, 1], [2]]", "names a client twice in round 1"),
            ("a.json", "[[1], [8]]", "calls client 8 in round 2, but clients.count is 8"),
            ("a.json", "[[1], [-1]]", "calls client -1 in round 2"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, name: str, text: str, complaint: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=complaint) as raised:
            self.cohorts(tmp_path / name)
        assert "\n" not in str(raised.value)

    def test_a_file_is_needed(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"needs participation\.file"):
            participation("schedule")
        with pytest.raises(UserError, match="cannot read"):
            self.cohorts(tmp_path / "missing.csv")


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
        made.setup(self.COUNTS.sum(axis=1), self.COUNTS)
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
        made.setup(self.COUNTS.sum(axis=1), self.COUNTS)
        assert len(made.cohort(1, fraction)) == size

    def test_it_needs_labels(self) -> None:
        with pytest.raises(UserError, match="needs data with a label per sample"):
            self.scheme().setup(np.ones(10, dtype=np.int64), np.zeros((10, 1), dtype=np.int64))


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


def changes(vectors: Mapping[int, Sequence[float]]) -> dict[int, Feedback]:
    return {
        client: Feedback({"train_loss": 1.0}, change=np.array(vector), norm=float(np.linalg.norm(vector)))
        for client, vector in vectors.items()
    }


def test_norm_proportional_with_its_correction() -> None:
    scheme = participation("norm-proportional", count=3, correction="inverse-inclusion")
    scheme.observe(1, changes({0: [3.0, 4.0], 1: [0.0, 2.0]}))
    # The third counts as 5: probabilities 5/12, 2/12, 5/12, which are those of inclusion for one client.
    (client,) = scheme.cohort(9, 0.1)
    weights = scheme.weights([0, 1, 2])
    assert list(weights.values()) == pytest.approx([12 / 5, 6, 12 / 5], rel=0.01)
    counts, plain = np.zeros(3), participation("norm-proportional", count=3)
    plain.observe(1, changes({0: [3.0, 4.0], 1: [0.0, 2.0]}))
    for server_round in range(1, 1001):
        counts[plain.cohort(server_round, 0.1)] += 1
    assert counts / 1000 == pytest.approx([5 / 12, 2 / 12, 5 / 12], abs=0.05)
    assert plain.cohort(9, 0.1) == [client]
    resumed = participation("norm-proportional", count=3, correction="inverse-inclusion")
    resumed.restore(json.loads(json.dumps(scheme.state())))
    assert resumed.cohort(9, 0.1) == scheme.cohort(9, 0.1)
    assert resumed.weights([0]) == scheme.weights([0])


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


def test_sketches_keep_norms_and_angles() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(20_000, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = sketch([one[:50], one[50:]], 0), sketch([one + two], 0)
    assert first.shape == (128,)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine == pytest.approx(0.5**0.5, abs=0.2)
    assert np.linalg.norm(first) == pytest.approx(float(one.norm()), rel=0.25)
    assert sketch([2 * one], 0) == pytest.approx(2 * first)


def test_target_has_its_correction() -> None:
    counts = np.array([[30, 0], [10, 20], [0, 30], [0, 0]])
    scheme = participation("target", count=4, correction="inverse-inclusion")
    scheme.setup(counts.sum(axis=1), counts)
    inclusion = scheme.scheme.inclusion()
    assert inclusion is not None
    assert inclusion == pytest.approx(scheme.scheme.probabilities(), abs=0.01)  # cohorts of one
    assert scheme.weights([0, 1]) == pytest.approx({0: 1 / inclusion[0], 1: 1 / inclusion[1]})
