"""A message or a reply that is lost on its way is sent once more, and the bits are those of a run without."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Error, Message

from common.errors import ClientFailureError
from common.flower import REPLY_LOST
from runtimes.sequential import SequentialGrid
from tests.conftest import Runner
from tests.system.commands import summary

MESSAGE_LOST, REPLY_INCOMPLETE, PROCESS_DIED = REPLY_LOST
VICTIM = 1


class Lossy(SequentialGrid):
    """Some messages to a client, or the replies to them, are lost.

    `lost` has the number of a message to the client, counted from 1 by type, and what the server hears of it.
    """

    is_reliable = False
    alike_nodes = range(0)
    lost: dict[tuple[str, int], int]

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Carry messages; the job of an incomplete reply has been done."""
        self.counts: dict[str, int] = getattr(self, "counts", {})
        for message in messages:
            kind = message.metadata.message_type
            code = None
            if self.client_id(message.metadata.dst_node_id) == VICTIM:
                self.counts[kind] = self.counts.get(kind, 0) + 1
                code = self.lost.get((kind, self.counts[kind]))
            if code is None:
                yield from super().exchange([message])
                continue
            if code == REPLY_INCOMPLETE:
                list(super().exchange([message]))
            yield Message(Error(code, "it did not\narrive"), reply_to=message)


def lossy(**lost: int) -> type[Lossy]:
    """Return a Grid that loses messages, given as ``train_2=code``."""
    found = {}
    for name, code in lost.items():
        kind, _, number = name.rpartition("_")
        found[kind.replace("query_", "query."), int(number)] = code
    return type("Losing", (Lossy,), {"lost": found})


OPTIONS = {"clients__fraction": 1.0, "rounds": 3, "checkpoint__every": 1}
SAID = f"no reply came from client {VICTIM} (it did not\\narrive): asked once more"


@pytest.mark.parametrize("policy", ["raise", "drop"])
@pytest.mark.parametrize("code", REPLY_LOST)
def test_a_job_is_sent_again_and_counts_once(
    run_small: Runner, capsys: pytest.CaptureFixture[str], policy: str, code: int
) -> None:
    options = {**OPTIONS, "method__name": "scaffold", "failures__policy": policy}
    expected = run_small("whole", **options)
    path = run_small("lossy", lossy(train_2=code), **options)
    assert capsys.readouterr().out.count(SAID) == 1
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
    assert clients_column(path) == [6, 6, 6]


@pytest.mark.parametrize(
    ("method", "message"),
    [("scaffold", "query_get_state_1"), ("episode", "query_prelude_2"), ("fedper", "evaluate_2")],
)
def test_so_is_anything_else_that_is_asked(run_small: Runner, method: str, message: str) -> None:
    options = {**OPTIONS, "method__name": method, "clients__evaluate_fraction": 1.0}
    expected = run_small("whole", **options)
    path = run_small("lossy", lossy(**{message: REPLY_INCOMPLETE}), **options)
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]


def test_what_is_lost_twice_is_a_failure(run_small: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    grid = lossy(train_2=REPLY_INCOMPLETE, train_3=PROCESS_DIED)
    with pytest.raises(ClientFailureError, match=f"client {VICTIM} failed in round 2:\nit did not\narrive"):
        run_small("raise", grid, **OPTIONS)
    options = {**OPTIONS, "method__name": "scaffold", "failures__policy": "drop"}
    path = run_small("drop", grid, **options)
    assert clients_column(path) == [6, 5, 6]
    assert f"round 2: dropped client {VICTIM} (arrive)" in capsys.readouterr().out
    once = run_small("once", lossy(train_2=MESSAGE_LOST, train_3=MESSAGE_LOST), **options)
    assert summary(path)["model_sha256"] == summary(once)["model_sha256"]  # of two jobs done, none counts


def test_nothing_is_sent_again_after_the_deadline(run_small: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("server.messages.courier.time", clock)
    monkeypatch.setattr("server.messages.messenger.time", clock)

    class Late(lossy(train_2=REPLY_INCOMPLETE)):  # type: ignore[misc]
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            clock.now += 30.0
            yield from super().exchange(messages)

    options = {**OPTIONS, "failures__policy": "drop", "failures__deadline": 20.0}
    assert clients_column(run_small("run", Late, **options)) == [6, 5, 6]


def clients_column(path: Path) -> list[int]:
    lines = [line.split(",") for line in (path / "metrics.csv").read_text().splitlines()]
    place, first = lines[0].index("clients"), lines[0].index("round")
    return [int(line[place]) for line in lines[1:] if int(line[first])]
