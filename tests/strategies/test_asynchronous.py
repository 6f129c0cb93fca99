"""FedAsync and FedBuff: the virtual clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from clients.base import Client
from clients.local.training import train_locally
from common.clock import ClientSpeeds
from common.errors import ClientFailureError, UserError
from common.records import to_tensors
from common.sections import Value
from server.checkpoints.state_codec import capture_attributes, restore_attributes
from strategies._asynchronous import Asynchronous, nth_left
from tests.conftest import Runner
from tests.methods.asynchronous import configured, make, update
from tests.strategies.messages import NodesOnly, record


def test_a_reply_that_counts_whole_is_the_model() -> None:
    whole = make("fedasync", mixing=1.0, staleness="constant")
    assert [update(whole, [(2.0 - 0.7 * d, d)], drift=0.7) for d in (0, 3, 8)] == [3.0] * 3
    assert update(make("fedbuff", buffer_size=1), [(2.0, 0)]) == pytest.approx(3.0, abs=1e-15)


def run_clock(strategy: Asynchronous, rounds: int) -> list[dict[int, int]]:
    """Return by round client id → staleness."""
    found = []
    for server_round in range(1, rounds + 1):
        cohort = strategy.cohort(server_round)
        grid = NodesOnly([client_id + 2 for client_id in cohort])
        arrays = record({"w": [float(server_round - 1)]})
        for message in strategy.configure_train(server_round, arrays, ConfigRecord(), grid):
            # The model's value is its version here.
            sent = to_tensors(message.content.array_records["arrays"])["w"]
            assert int(sent) == strategy.arrived[message.metadata.dst_node_id - 2]
            assert message.content.config_records["config"]["server-round"] == int(sent) + 1
        found.append({client_id: server_round - 1 - strategy.arrived[client_id] for client_id in cohort})
        assert cohort == sorted(strategy.arrived)
    return found


def test_equal_clients_take_turns() -> None:
    """All begin with version 0 and arrive at time 1, in the order of their ids; then all again."""
    strategy = make("fedasync")
    rounds = run_clock(strategy, 12)
    assert rounds == [{0: 0}, {1: 1}, {2: 2}, {3: 3}, {4: 4}, {5: 5}] + [{k: 5} for k in range(6)]
    assert strategy.now == 2


def test_a_buffer_of_everyone_is_synchronous() -> None:
    strategy = make("fedbuff", buffer_size=6)
    assert run_clock(strategy, 4) == [dict.fromkeys(range(6), 0)] * 4
    assert strategy.now == 4


@pytest.mark.parametrize(("method", "concurrency"), [("fedasync", 3), ("fedbuff", 2), ("fedbuff", 6)])
def test_the_clock(method: str, concurrency: int) -> None:
    config = configured(clock__spread=1.0, clock__jitter=0.5)
    parameters: dict[str, Value] = {"buffer_size": 4} if method == "fedbuff" else {}
    strategy = make(method, concurrency, config, **parameters)
    times = []
    for server_round in range(1, 60):
        before = strategy.now
        (stale,) = run_clock_from(strategy, server_round)
        assert len(stale) == strategy.num_arrivals
        assert len(strategy.in_flight) <= concurrency
        assert len(strategy.versions) <= concurrency + strategy.num_arrivals + 1
        assert strategy.columns(server_round)["virtual_seconds"] == strategy.now - before
        times.append(strategy.now)
    assert times == sorted(times)
    again = make(method, concurrency, config, **parameters)
    run_clock(again, 59)
    assert again.now == strategy.now


def run_clock_from(strategy: Asynchronous, server_round: int) -> list[dict[int, int]]:
    cohort = strategy.cohort(server_round)
    grid = NodesOnly([client_id + 2 for client_id in cohort])
    list(strategy.configure_train(server_round, record({"w": [0.0]}), ConfigRecord(), grid))
    return [strategy.arrived]


def test_faster_clients_arrive_more_often() -> None:
    config = configured(clock__spread=1.0)
    strategy = make("fedasync", config=config)
    counts = np.zeros(6)
    for arrived in run_clock(strategy, 600):
        counts[list(arrived)] += 1
    speeds = 1 / ClientSpeeds(config).seconds_per_job
    np.testing.assert_allclose(counts / counts.sum(), speeds / speeds.sum(), atol=0.01)


def test_a_restored_clock_goes_on() -> None:
    config = configured(clock__spread=1.0, clock__jitter=1.0)
    whole, first, second = (make("fedbuff", 4, config, buffer_size=3) for _ in range(3))
    rounds = run_clock(whole, 20)
    assert run_clock(first, 10) == rounds[:10]
    restore_attributes(second, *capture_attributes(first))
    found = []
    for server_round in range(11, 21):
        arrived = run_clock_from(second, server_round)[0]
        found.append({client_id: server_round - 1 - arrived[client_id] for client_id in sorted(arrived)})
    assert found == rounds[10:]


def test_the_median_client_needs_one_second() -> None:
    speeds = ClientSpeeds(configured(1001, clock__spread=0.5, clock__jitter=2.0))
    assert np.median(speeds.seconds_per_job) == pytest.approx(1, abs=0.1)
    assert np.log(speeds.seconds_per_job).std() == pytest.approx(0.5, abs=0.05)
    jobs = [speeds.job(0, number) / speeds.seconds_per_job[0] for number in range(400)]
    assert min(jobs) >= 1
    assert np.mean(jobs) == pytest.approx(3, abs=0.4)


def test_jitter_is_exponential() -> None:
    speeds = ClientSpeeds(configured(clock__jitter=2.0))
    delays = np.sort([speeds.job(3, number) - speeds.seconds_per_job[3] for number in range(1000)])
    distances = np.abs(1 - np.exp(-delays / 2) - (np.arange(1000) + 0.5) / 1000)
    assert distances.max() < 1.63 / np.sqrt(1000)  # Kolmogorov and Smirnov, at the level 0.01


def test_jobs_follow_steps_and_bytes() -> None:
    """Models of 4 MB, sent there and back."""
    config = configured(clock__seconds_per_step=0.1, clock__latency=0.5, clock__bandwidth=2.0, local__steps=5)
    strategy = make("fedasync", concurrency=6, config=config)
    strategy.cohort(1)
    assert strategy.now == pytest.approx(5 * 0.1 + 0.5 + 8 / 2)
    # Epochs follow the clients' sizes: client k has k + 1 samples, one batch each.
    by_size = make(
        "fedasync", config=configured(clock__seconds_per_step=3.0, local__epochs=1, local__batch_size=2)
    )
    run_clock(by_size, 3)
    assert by_size.now == pytest.approx(6.0)  # clients 0 and 1 at 3, client 2 with two batches at 6
    # One step less of a job is one step's time less, whatever the jitter.
    speeds = ClientSpeeds(configured(clock__seconds_per_step=0.25, clock__spread=1.0, clock__jitter=1.0))
    longer, shorter = speeds.job(3, 7, num_steps=8), speeds.job(3, 7, num_steps=4)
    assert longer == pytest.approx(2 * shorter)


def test_bandwidths_are_log_normal() -> None:
    speeds = ClientSpeeds(configured(2001, clock__bandwidth=4.0, clock__bandwidth_spread=0.5))
    times = np.array([speeds.transfer(client, 8_000_000) for client in range(2001)])
    assert np.median(times) == pytest.approx(2, abs=0.1)
    assert np.log(times).std() == pytest.approx(0.5, abs=0.03)
    assert speeds.job(0, 1, num_bytes=8_000_000) == pytest.approx(1 + times[0])
    with pytest.raises(UserError, match=r"bandwidth-spread needs clock\.bandwidth"):
        configured(clock__bandwidth_spread=0.5)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"participation__name": "skewed"}, "participation.name at 'uniform'"),
        ({"privacy__clipping": "fixed"}, "does not cover 'fedasync'"),
        ({"stragglers__policy": "drop"}, "waits for no client"),
        ({"schedule__warmup_epochs": 0.5}, "share no count of local steps"),
        ({"local__sampling": "shard"}, "share no count of local steps"),
        ({"steps__rule": "qsr", "local__steps": 2, "local__epochs": 0}, "steps.rule at 'fixed'"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides: dict[str, Any], match: str, run_small: Runner) -> None:
    with pytest.raises(UserError, match=match):
        run_small(method__name="fedasync", model__name="linear", **overrides)


def final_model(run_directory: Path) -> dict[str, torch.Tensor]:
    return load_file(run_directory / "model.safetensors")


def test_buffered_runs_of_everyone_are_fedavg(run_small: Callable[..., Path]) -> None:
    """Without staleness x + mean(y - x) is mean(y)."""
    common: dict[str, Value] = {"clients__fraction": 1.0, "model__name": "linear"}
    buffered = run_small("b", method__name="fedbuff", **{"method__buffer-size": 6}, **common)
    average = run_small("a", method__name="fedavg", method__weighting="uniform", **common)
    for name, value in final_model(average).items():
        torch.testing.assert_close(final_model(buffered)[name], value, rtol=1e-6, atol=1e-6)
    rows = pd.read_csv(buffered / "metrics.csv")
    assert rows["virtual_seconds"].dropna().tolist() == [1, 1, 1]
    assert rows["staleness"].dropna().tolist() == [0, 0, 0]


def test_the_learning_rate_is_that_of_the_round_in_which_a_client_began(run_small: Runner) -> None:
    """Six equal clients take turns: the first six arrivals began in round 1, the next ones later."""
    options: dict[str, Value] = {
        "clients__fraction": 1.0,
        "model__name": "linear",
        "method__name": "fedasync",
    }
    options |= {"schedule__name": "step", "schedule__step_rounds": 1, "schedule__gamma": 0.5}
    rows = pd.read_csv(run_small(rounds=8, optimizer__learning_rate=0.1, **options) / "metrics.csv").loc[1:]
    began = rows["round"] - rows["staleness"]
    assert began.tolist() == [1] * 6 + [2, 3]
    assert rows["learning_rate"].tolist() == pytest.approx((0.1 * 0.5 ** (began - 1)).tolist())


def test_a_run_with_a_clock_tells_virtual_seconds(run_small: Callable[..., Path]) -> None:
    rows = pd.read_csv(run_small(model__name="linear", clock__spread=1.0) / "metrics.csv")
    assert (rows["virtual_seconds"].loc[1:] > 0).all()


@given(st.sets(st.integers(0, 12)), st.integers(0, 12))
def test_the_nth_idle_client_is_found_without_listing_all(taken: set[int], position: int) -> None:
    assert nth_left(position, taken) == [n for n in range(30) if n not in taken][position]


def fail_client_2(client: Client, *arguments: Any, **local: Any) -> tuple[int, float]:
    """Stand in for ``train_locally``."""
    if client.client_id == 2:
        raise ArithmeticError("planted")
    return train_locally(client, *arguments, **local)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fedasync", {}),
        ("fedbuff", {"method__buffer_size": 1}),
        ("a2cid2", {"method__communication_rate": 20.0}),
    ],
)
def test_a_round_whose_arrivals_all_fail_is_one_of_many(
    method: str, options: dict[str, Any], run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four clients work, and the fastest one always fails: the server's model stays, clients average."""
    monkeypatch.setattr("clients.base.train_locally", fail_client_2)
    clients = {"clients__count": 4, "clients__fraction": 1.0, "clock__spread": 1.0, "model__hidden": 4}
    keys = {"method__name": method, "local__epochs": 0, "local__steps": 1, "rounds": 6, **clients, **options}
    run = run_small(**keys, failures__policy="drop", failures__max_fraction=0.3)
    rows = pd.read_csv(run / "metrics.csv").set_index("round")
    losses, idle = rows["test_loss"], rows["clients"] == 0
    assert 0 < idle.sum() < 6
    assert losses[idle].tolist() == pytest.approx(losses.shift()[idle].tolist(), rel=1e-6)
    assert (losses.diff().abs() > 1e-5).sum() == 6 - idle.sum()
    assert (rows["virtual_seconds"].loc[1:] > 0).all()
    if method == "a2cid2":
        distance, idle = rows["consensus_distance"], idle & (rows.index > 2)
        assert (rows["pair_averagings"][idle] > 0).all()
        assert (distance[idle] < distance.shift()[idle]).all()
    with pytest.raises(ClientFailureError, match=r"round \d: 1 of 4 clients failed"):
        run_small("strict", **keys, failures__policy="drop", failures__max_fraction=0.2)
