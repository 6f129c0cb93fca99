"""Virtual seconds of synchronous rounds."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from flwr.app import Message

from common.clock import ClientSpeeds
from server.messages.replies import ReplyCheck
from server.round_clock import RoundClock
from strategies.fedavg import FedAvg
from tests.conftest import Runner
from tests.methods.asynchronous import configured
from tests.strategies.messages import make_reply


def clock(strategy: FedAvg | None = None, **values: float) -> RoundClock:
    parts = SimpleNamespace(
        config=configured(**values),
        clients=SimpleNamespace(num_examples=np.arange(1, 7)),
        strategy=strategy or FedAvg(),
    )
    return RoundClock(parts)  # type: ignore[arg-type]


def exchanged(steps: dict[int, int], up: dict[int, int]) -> tuple[dict[int, Message], ReplyCheck]:
    """Return messages of 400 bytes, and a check that has seen replies."""
    messages = {k: make_reply({"w": [0.0] * 100}, num_examples=1) for k in {*steps, *up}}
    check = ReplyCheck(list(messages), {}, tolerate=True)
    check.metrics, check.bytes_up = {k: {"num-steps": made} for k, made in steps.items()}, up
    return messages, check


def test_a_round_waits_for_the_slowest() -> None:
    messages, check = exchanged({1: 3, 4: 3}, {1: 400, 4: 400})
    assert clock().train(1, [1, 4], messages, check, None) is None
    by_speed = clock(clock__spread=0.5)
    speeds = ClientSpeeds(configured(clock__spread=0.5)).seconds_per_job
    assert by_speed.train(7, [1, 4], messages, check, None) == max(speeds[1], speeds[4])
    assert by_speed.train(7, [], {}, check, None) == 0


def test_steps_and_bytes_of_each_client_count() -> None:
    made = clock(clock__seconds_per_step=2.0, clock__latency=0.25, clock__bandwidth=0.0001)
    messages, check = exchanged({1: 3, 4: 1}, {1: 100, 4: 2600})
    # Client 1: 6 s + 500 bytes at 100 a second; client 4: 2 s and 30.
    assert made.train(1, [1, 4], messages, check, None) == pytest.approx(2 + 0.25 + 30)
    assert made.train(1, [1], messages, check, None) == pytest.approx(6 + 0.25 + 5)


def test_a_method_may_say_what_a_job_moves() -> None:
    class Linked(FedAvg):
        def bytes_on_the_clock(self, client: int, server_round: int, num_bytes: int) -> float:
            return num_bytes + 1000 * client * server_round

    made = clock(Linked(), clock__bandwidth=0.0001)
    messages, check = exchanged({1: 3}, {1: 100})
    assert made.train(2, [1], messages, check, None) == pytest.approx(1 + 25)


def test_who_failed_counts_the_steps_that_it_was_to_make() -> None:
    made = clock(clock__seconds_per_step=2.0, local__epochs=3, local__batch_size=2)
    messages, check = exchanged({1: 3}, {1: 0, 4: 0})
    assert made.train(1, [1, 4], messages, check, None) == 2 * 3 * 3  # client 4 has 5 samples
    assert made.train(1, [1, 4], messages, check, 100) == 200


def test_asking_before_a_round_adds_the_time_of_its_bytes() -> None:
    made = clock(clock__bandwidth=0.0001, clock__latency=1.0)
    messages, check = exchanged({1: 3}, {1: 0})
    made.ask(messages, check)
    made.ask(messages, check)
    assert made.train(1, [1], messages, check, None) == pytest.approx(1 + 3 * (1 + 4))
    assert made.train(2, [1], messages, check, None) == pytest.approx(1 + 1 + 4)


def test_synchronous_and_asynchronous_jobs_take_the_same_time(run_small: Runner) -> None:
    """With everyone in the buffer a round of FedBuff is one of FedAvg, in bytes and steps as well."""
    common = {
        "model__name": "linear",
        "clients__fraction": 1.0,
        "clock__spread": 1.0,
        "clock__seconds_per_step": 0.1,
        "clock__bandwidth": 0.001,
        "clock__latency": 0.5,
    }
    found = [
        pd.read_csv(run_small(name, method__name=name, **common, **extra) / "metrics.csv")
        for name, extra in (("fedavg", {}), ("fedbuff", {"method__buffer-size": 6}))
    ]
    seconds = found[0]["virtual_seconds"].dropna()
    assert len(seconds) == 3
    assert seconds.tolist() == pytest.approx(found[1]["virtual_seconds"].dropna().tolist())
    per_client = (found[0]["bytes_down"] + found[0]["bytes_up"]).dropna() / 6
    assert (seconds > 0.5 + per_client / 1000).all()
