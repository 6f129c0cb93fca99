"""A2CiD2: its constants, its events and its clock, by closed forms and by a plain replay in NumPy."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm

from common.errors import UserError
from common.records import ARRAYS
from common.sections import Value
from common.topologies import undirected_links
from strategies._pair_events import PairedModels, PairEvents
from strategies.a2cid2 import A2CiD2
from tests.conftest import Runner, example_of
from tests.methods.quadratics import LR, Federation
from tests.methods.test_gossip_sgd import check_method

FOUR = [(1.0, 1.0), (2.0, -1.0), (0.5, 3.0), (3.0, 0.0)]
CLOCK: dict[str, Value] = {"clock.spread": 0.7, "clock.jitter": 0.5}


def ring(count: int) -> np.ndarray:
    return undirected_links(count, [(i, (i + 1) % count) for i in range(count)])


def federation(clock: dict[str, Value] | None = None, **keys: Value) -> tuple[Federation, A2CiD2]:
    made = Federation("a2cid2", FOUR, [2] * 4, local={**LR, **(CLOCK if clock is None else clock)}, **keys)
    assert isinstance(made.strategy, A2CiD2)
    return made, made.strategy


def run_round(made: Federation) -> list[float]:
    return made.round(made.strategy.cohort(made.server_round + 1))


@pytest.mark.parametrize("count", [3, 4, 8, 15])
@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
def test_resistances_of_a_ring_and_of_the_complete_graph(count: int, rate: float) -> None:
    chi_1, chi_2 = PairEvents(ring(count), rate, 0).resistances()
    of_link = rate / 2  # n links for n rate / 2 averagings
    assert chi_1 == pytest.approx(1 / (of_link * (2 - 2 * math.cos(2 * math.pi / count))))
    assert chi_2 == pytest.approx((count - 1) / count / (2 * of_link))
    complete = ~np.eye(count, dtype=bool)
    chi_1, chi_2 = PairEvents(complete, rate, 0).resistances()
    of_link = rate / (count - 1)
    assert chi_1 == pytest.approx(1 / (of_link * count))
    assert chi_2 == pytest.approx(1 / (of_link * count))  # 2 / n is the resistance of a link


def test_on_the_complete_graph_nothing_is_accelerated() -> None:
    _, strategy = federation({"topology.name": "complete"})
    assert strategy.share == pytest.approx(0.5)
    _, on_ring = federation()
    assert on_ring.share > 0.5


def test_averagings_are_a_poisson_process() -> None:
    events = PairEvents(ring(6), 2.0, seed=1)
    gaps = np.array([events.gap(number) for number in range(1500)])
    assert gaps.mean() == pytest.approx(1 / 6, rel=0.1)  # 6 clients, 2 each, two in each averaging
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)
    pairs = [events.pair(number) for number in range(1500)]
    counts = pd.Series(pairs).value_counts()
    assert len(counts) == 6
    assert counts.min() > 180


@pytest.mark.parametrize("accelerated", [True, False])
def test_events_by_hand(accelerated: bool) -> None:
    """The same arrivals and averagings with matrix exponentials on all clients, from event to event."""
    made, strategy = federation(accelerated=accelerated, communication_rate=2.0)
    x, other, begun = np.zeros(4), np.zeros(4), np.zeros(4)
    h, b = np.array(FOUR).T
    now = 0.0
    for _ in range(8):
        num_pairs, next_pair = strategy.num_pairs, strategy.next_pair
        cohort = strategy.cohort(made.server_round + 1)
        next_pair = next_pair or strategy.next_pair
        events: list[tuple[float, int, int]] = [(time, client, -1) for time, client, _ in strategy.arrivals]
        assert strategy.pairs is not None
        while next_pair <= strategy.now:
            events.append((next_pair, *strategy.pairs.pair(num_pairs)))
            num_pairs += 1
            next_pair += strategy.pairs.gap(num_pairs)
        for time, i, j in sorted(events):
            flow = expm((time - now) * strategy.eta * np.array([[-1, 1], [1, -1]]))
            x, other = flow @ np.stack([x, other])
            now = time
            if j < 0:
                y = begun[i] - 0.1 * h[i] * (begun[i] - b[i])
                y -= 0.1 * h[i] * (y - b[i])
                x[i], other[i] = x[i] + y - begun[i], other[i] + y - begun[i]
                begun[i] = x[i]
            else:
                difference = x[i] - x[j]
                x[i], x[j] = x[i] - difference / 2, x[j] + difference / 2
                other[i], other[j] = (
                    other[i] - strategy.share * difference,
                    other[j] + strategy.share * difference,
                )
        assert made.round(cohort) == pytest.approx([x.mean()], abs=1e-12)
        np.testing.assert_allclose(strategy.models[ARRAYS]["w"][:, 0].numpy(), x, atol=1e-12)
        np.testing.assert_allclose(strategy.others["w"][:, 0].numpy(), other, atol=1e-12)
        assert x.mean() == pytest.approx(other.mean(), abs=1e-12)
    assert strategy.num_pairs > 8


def test_a_client_goes_on_from_its_own_counters() -> None:
    """BatchNorm without a momentum divides by them."""
    _, strategy = federation()
    strategy.begin({"w": torch.zeros(1, dtype=torch.float64), "count": torch.tensor(0)})
    counts = [0] * 4
    for number in (1, 2, 3):
        for client in strategy.cohort(number):
            counts[client] = int(strategy.begun["count"][client]) + client + 1
        strategy.trained = {ARRAYS: {**strategy.begun, "count": torch.tensor(counts)}}
        strategy.mix(number)
        assert strategy.begun["count"].tolist() == counts
    assert max(counts) > 4


def test_without_acceleration_the_second_model_is_the_first() -> None:
    made, strategy = federation(accelerated=False)
    for _ in range(6):
        run_round(made)
        np.testing.assert_allclose(strategy.others["w"].numpy(), strategy.models[ARRAYS]["w"].numpy())
    assert strategy.eta == 0.0


def test_equal_clients_arrive_together_and_fast_ones_more_often() -> None:
    _, strategy = federation({})
    for number in (1, 2, 3):
        assert strategy.cohort(number) == [0, 1, 2, 3]
        assert strategy.now == number
    _, strategy = federation()
    arrivals = np.zeros(4)
    for number in range(1, 200):
        cohort = strategy.cohort(number)
        assert len(set(cohort)) == len(cohort) > 0
        assert all(begun < number for _, _, begun in strategy.arrivals)
        arrivals[cohort] += 1
    assert strategy._speeds is not None
    seconds = strategy._speeds.seconds_per_job * 1.5  # with the mean jitter
    np.testing.assert_allclose(arrivals * seconds, strategy.now, rtol=0.15)


def test_acceleration_brings_a_ring_closer_together() -> None:
    """Without gradients, from models that are apart: the same averagings, and a smaller distance."""
    events = PairEvents(ring(24), 1.0, seed=0)
    chi_1, chi_2 = events.resistances()
    distances = []
    for eta, share in ((0.0, 0.5), (1 / (2 * math.sqrt(chi_1 * chi_2)), math.sqrt(chi_1 / chi_2) / 2)):
        start = torch.cos(2 * math.pi * torch.arange(24, dtype=torch.float64) / 24)[:, None]
        models = PairedModels({"w": start.clone()}, {"w": start.clone()}, eta, share, [0.0] * 24)
        time = 0.0
        for number in range(700):
            time += events.gap(number)
            models.average(*events.pair(number), time)
        for client in range(24):
            models.flow(client, time)
        for stack in (models.x, models.other):
            assert stack["w"].mean().item() == pytest.approx(0, abs=1e-12)
        distances.append(models.x["w"].std().item())
    assert distances[1] < 0.5 * distances[0]


def test_a_run_on_the_clock(run_small: Runner) -> None:
    keys = {**example_of("a2cid2"), "clock__spread": 0.8, "model__hidden": 8}
    rows = pd.read_csv(run_small(method__name="a2cid2", rounds=4, **keys) / "metrics.csv").iloc[1:]
    assert (rows["virtual_seconds"] > 0).all()
    assert rows["clients"].min() < 4
    one = rows["bytes_up"] / rows["clients"]
    assert (rows["peer_bytes"] == 2 * rows["pair_averagings"] * one).all()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"topology__name": "exponential"}, "averages pairs: topology.name must have the same links"),
        ({"topology__name": "one-peer-exponential"}, "averages pairs"),
        (
            {"local__steps": 2, "local__epochs": 0, "local__sampling": "shuffle"},
            "share no count of local steps",
        ),
        ({"method__communication_rate": 0.0}, "method.communication-rate"),
        ({"method__momentum": "average"}, "method.momentum"),
        ({"clients__fraction": 0.5}, "set clients.fraction = 1.0"),
    ],
)
def test_what_does_not_go_with_pairs(tmp_path: Path, keys: dict[str, Value], says: str) -> None:
    config = {**example_of("a2cid2"), **keys}
    with pytest.raises(UserError, match=says):
        check_method(tmp_path, "a2cid2", config)
