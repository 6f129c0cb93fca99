"""A slow node misses the deadline of a round: the round goes without it, and its reply counts for nothing."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from flwr.app import Error, Message

from common.errors import ClientFailureError, UserError
from common.inactive import check_active
from runtimes.sequential import SequentialGrid
from tests.conftest import Runner, small_config

VICTIM = 2
OPTIONS = {"clients__fraction": 1.0, "rounds": 3, "failures__policy": "drop", "checkpoint__every": 1}


class Clock:
    """Time that passes while somebody sleeps, and only then."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.messages.exchange.time", Clock())


class Slow(SequentialGrid):
    """The reply of a client in the first round arrives in the second; in the meantime nobody waits for it."""

    rounds = 0
    held: list[Message]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and count rounds."""
        sent = list(messages)
        self.rounds += bool(sent) and sent[0].metadata.message_type == "train"
        return super().push_messages(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hold the reply back."""
        self.held = getattr(self, "held", [])
        replies = list(super().pull_messages([name for name in message_ids if name not in self._held_ids()]))
        slow = [reply for reply in replies if self._is_slow(reply)]
        self.held += slow
        if self.rounds > 1 or (not slow and self.rounds == 0):
            arrived = [reply for reply in self.held if reply.metadata.reply_to_message_id in message_ids]
            self.held = [reply for reply in self.held if reply not in arrived]
            replies += arrived
        return [reply for reply in replies if reply not in slow]

    def _held_ids(self) -> set[str]:
        return {reply.metadata.reply_to_message_id for reply in self.held}

    def _is_slow(self, reply: Message) -> bool:
        is_train = reply.metadata.message_type == "train"
        return self.rounds == 1 and is_train and self.client_id(reply.metadata.src_node_id) == VICTIM


class Failing(SequentialGrid):
    """The same client fails in the first round."""

    rounds = 0

    def exchange(self, messages: list[Message]) -> Iterable[Message]:  # type: ignore[override]
        """Answer in its place."""
        self.rounds += bool(messages) and messages[0].metadata.message_type == "train"
        for message, reply in zip(messages, super().exchange(messages), strict=True):
            is_train = message.metadata.message_type == "train"
            if self.rounds == 1 and is_train and self.client_id(message.metadata.dst_node_id) == VICTIM:
                yield Message(Error(1000, "failed"), reply_to=message)
            else:
                yield reply


def sha(path: Path) -> str:
    return str(json.loads((path / "summary.json").read_text())["model_sha256"])


@pytest.mark.parametrize("method", ["fedavg", "scaffold"])
def test_a_round_goes_without_the_slow_client_and_its_reply_is_counted(
    run_small: Runner, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    options = {**OPTIONS, "method__name": method}
    path = run_small("slow", Slow, failures__deadline=20.0, **options)
    printed = capsys.readouterr().out
    assert f"round 1: dropped client {VICTIM} (no reply within failures.timeout or" in printed
    late = f"client {VICTIM} answered round 1 after failures.deadline: its reply is thrown away"
    assert printed.count(late) == 1
    assert "(late replies of this run: 1)" in printed
    rows = pd.read_csv(path / "metrics.csv")
    assert rows["failures"].tolist()[1:] == [1, 0, 0]
    assert rows["clients"].tolist()[1:] == [5, 6, 6]
    assert sha(path) == sha(run_small("failing", Failing, **options))


def test_without_a_deadline_it_is_waited_for(run_small: Runner) -> None:
    with pytest.raises(ClientFailureError, match=f"client {VICTIM} failed in round 1"):
        run_small("slow", Slow, clients__fraction=1.0, failures__timeout=20.0)


def test_a_deadline_is_for_runs_that_drop_clients() -> None:
    values = small_config(failures__deadline=3.0).flat()
    with pytest.raises(UserError, match=r"failures\.deadline"):
        check_active(values)
