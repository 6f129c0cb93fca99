"""How far the clients of a round drift apart, in closed form and in a run that halves its steps by it."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from common.errors import UserError
from common.records import ARRAYS
from server.observers import Round
from server.observers._feedback import Feeds
from server.observers._updates import Updates
from server.observers.drift import Drift
from server.observers.update_norm import UpdateNorm
from server.participation.norm_proportional import NormProportional
from strategies.afl import AFL
from strategies.fedavg import FedAvg
from tests.conftest import Runner, small_config
from tests.strategies.messages import make_message, make_reply, record


def drift_of(
    changes: list[list[float]], weights: list[int] | None = None, strategy: FedAvg | None = None
) -> float | None:
    """Return what the observer writes for clients that changed a weight, and a buffer by much more."""
    start = torch.ones(1, len(changes[0]))
    clients = dict(enumerate(changes, start=1))
    observer = Drift(
        SimpleNamespace(  # type: ignore[arg-type]
            config=SimpleNamespace(model=SimpleNamespace(sizes="")),
            evaluation=SimpleNamespace(model=nn.Linear(len(changes[0]), 1, bias=False)),
            clients=SimpleNamespace(
                client_ids={10 + client_id: client_id for client_id in clients}, personal_names=()
            ),
            strategy=strategy or FedAvg(),
        )
    )
    current = Round(1, messages={client_id: make_message(10 + client_id) for client_id in clients})
    for message in current.messages.values():
        message.content[ARRAYS] = record({"weight": start, "running_mean": [0.0]})
    replies = [
        make_reply(
            {"weight": start + torch.tensor([change]), "running_mean": [99.0 * client_id]},
            weights[client_id - 1] if weights else 1,
            node_id=10 + client_id,
        )
        for client_id, change in clients.items()
    ]
    assert list(observer.replies(current, replies)) == replies
    observer.on_train(current)
    return current.row.get("drift")


def test_ratios_in_closed_form() -> None:
    """1 where all agree, K where K changes are orthogonal, of weights p_k: 1 / sum p_k^2; nothing at rest."""
    assert drift_of([[3.0, 4.0]] * 3) == 1
    assert drift_of([[3.0, 4.0]]) == 1
    assert drift_of([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]]) == 3
    assert drift_of([[2.0, 0], [0, 2.0]], [3, 1]) == pytest.approx(1 / (0.75**2 + 0.25**2), abs=1e-12)
    assert drift_of([[3.0], [-1.0]]) == pytest.approx(5, abs=1e-12)  # mean square 5, mean 1
    assert drift_of([[1.0], [-1.0]]) is None


def test_weights_that_a_method_gives_its_clients_are_those_of_the_replies_own_client() -> None:
    """It looks up whose reply it has when it reduces it, which is after the observer has seen it."""
    strategy = AFL()
    strategy.client_ids, strategy._weights = {11: 1, 12: 2}, {1: 3.0, 2: 1.0}
    assert drift_of([[2.0, 0], [0, 2.0]], strategy=strategy) == pytest.approx(1.6, abs=1e-12)


def test_a_run_halves_its_steps_where_models_drift(run_small: Runner) -> None:
    """Each decision follows from the columns: the mean drift of two rounds against the threshold."""
    values = {"model__name": "linear", "local__epochs": 0, "local__steps": 16, "schedule__name": "constant"}
    rule = {"steps__rule": "drift", "steps__threshold": 1.2, "steps__interval": 2, "steps__min": 1}
    run = run_small(rounds=6, **values, **rule)
    rows = pd.read_csv(run / "metrics.csv").loc[1:]
    expected = [16]
    for first in (0, 2):
        mean = rows["drift"].iloc[first : first + 2].mean()
        expected.append(expected[-1] // 2 if mean > 1.2 else expected[-1])
    assert rows["steps"].tolist() == [steps for steps in expected for _ in range(2)]
    assert expected[-1] < 16
    assert (rows["drift"] > 1).all()


def test_models_of_several_sizes_are_refused() -> None:
    config = small_config(observers="drift", model__sizes="width:1.0,width:0.5")
    with pytest.raises(UserError, match=r"'drift' .* leave model\.sizes empty"):
        Drift(SimpleNamespace(config=config))  # type: ignore[arg-type]


def test_clients_that_send_nothing() -> None:
    """What a run goes by is refused, what it only records is left out with a line."""
    parts = SimpleNamespace(
        config=small_config(method__name="local-only", participation__name="norm-proportional"),
        evaluation=SimpleNamespace(model=nn.Linear(1, 1)),
        clients=SimpleNamespace(personal_names=("weight", "bias")),
        participation=SimpleNamespace(scheme=NormProportional()),
    )
    why = "looks at what clients send, and those of 'local-only' keep the whole model"
    with pytest.raises(UserError, match=f"^participation.name 'norm-proportional' {why}: choose another"):
        Feeds(parts)  # type: ignore[arg-type]
    parts.config = small_config(
        method__name="local-only", analysis__update_rounds="1", analysis__update_layers="w*"
    )
    notes: list[str] = []
    run = SimpleNamespace(progress=SimpleNamespace(note=notes.append))
    for observer in (Drift(parts), Updates(parts)):  # type: ignore[arg-type]
        observer.start(run)  # type: ignore[arg-type]
    assert [note.partition(why)[0] for note in notes] == ["the observer 'drift' ", "analysis.update-rounds "]
    current = Round(1)
    UpdateNorm(parts).on_train(current)  # type: ignore[arg-type]
    assert current.row == {"update_norm": 0}
    parts.config = small_config(method__name="local-only", steps__rule="drift", local__steps=1)
    with pytest.raises(UserError, match=f"^steps.rule 'drift' {why}: choose another rule"):
        Drift(parts)  # type: ignore[arg-type]
