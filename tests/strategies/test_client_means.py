"""Server state that is a mean of the clients' states stays that mean, and its fixed point is the optimum."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from clients.node.state_commit import settle
from common.records import EXCHANGE, LOST, METRICS, NUMBER, PRELUDE, Tensors, reply_name, to_payload
from common.sections import Value
from runtimes.sequential import SequentialGrid
from strategies.fedavg import FedAvg
from tests.conftest import Runner, model_for
from tests.methods.federation import LossFederation
from tests.methods.quadratics import Federation, quadratic
from tests.methods.sized import SizedFederation

QUADRATICS = [(1.0, 2.0), (3.0, -1.0), (0.5, 4.0), (2.0, 0.7)]
COUNTS = [10, 20, 30, 40]
# sum_i n_i a_i b_i / sum_i n_i a_i, and without n_i.
OPTIMUM = {"examples": 76 / 165, "uniform": 2.4 / 6.5}
ROUNDS = {"scaffold": 70, "heteroscaffold": 70, "feddyn": 100}
STATE = {"scaffold": "control", "heteroscaffold": "control", "feddyn": "linear"}


def make_federation(method: str, weighting: str) -> LossFederation:
    steps, local = [3] * 4, {"optimizer.learning-rate": 0.3}
    if method == "heteroscaffold":
        losses = [quadratic(a, b) for a, b in QUADRATICS]
        values = {"w": [0.0]}
        return SizedFederation(
            method, values, ["w"] * 4, losses, steps, counts=COUNTS, local=local, weighting=weighting
        )
    extra: dict[str, Value] = {"alpha": 1.0} if method == "feddyn" else {}
    return Federation(method, QUADRATICS, steps, counts=COUNTS, local=local, weighting=weighting, **extra)


@pytest.mark.parametrize(("seed", "corrects"), [(0, False), (1, True)])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("method", list(STATE))
def test_partial_participation_ends_at_the_optimum(
    method: str, weighting: str, corrects: bool, seed: int
) -> None:
    federation = make_federation(method, weighting)
    generator = np.random.default_rng(seed)
    # Skewed, if weights are corrected for it; the factors need not even be right.
    p = np.array([0.4, 0.3, 0.2, 0.1]) if corrects else None
    corrections = {0: 1.0, 1: 1.3, 2: 2.0, 3: 5.0} if corrects else None
    for _ in range(ROUNDS[method]):
        cohort = sorted(generator.choice(4, size=2, replace=False, p=p).tolist())
        w = float(federation.run_round(cohort, corrections)["w"])
    assert w == pytest.approx(OPTIMUM[weighting], abs=5e-6)


def schedule_file(directory: Path) -> str:
    path = directory / "cohorts.json"
    path.write_text(json.dumps([[0], [1, 2, 5], [0, 3], [1]]))
    return str(path)


SKEWED: dict[str, Value] = {"participation__name": "skewed", "participation__gamma": 0.5}
CORRECTED: dict[str, Value] = {**SKEWED, "participation__correction": "inverse-inclusion"}
SCHEMES: list[dict[str, Value]] = [
    {},
    SKEWED,
    CORRECTED,
    {"participation__name": "power-of-choice"},
    {"participation__name": "power-of-choice", "participation__variant": "rpow-d"},
    {"participation__name": "loss-proportional"},
    {"participation__name": "periodic", "participation__group_size": 2},
    {"participation__name": "target"},
    {"participation__name": "schedule"},
    {"failures__policy": "drop", "failures__max_fraction": 0.7},
    {"stragglers__fraction": 0.5, "stragglers__policy": "drop"},
    {"stragglers__fraction": 0.5},
]
# Half of the replies are lost, or refused, after the client has done its job.
LOSSY: dict[str, Value] = {"failures__policy": "drop", "failures__max_fraction": 0.9, "checkpoint__every": 1}


def mean_over_clients(
    states: Mapping[int, Tensors], weights: torch.Tensor, holders: Mapping[str, list[int]]
) -> Tensors:
    """The weighted mean over the clients that hold an entry; those without a state have zeros."""
    means = {}
    for name, clients in holders.items():
        total = sum(
            weights[c].double() * states[c][name].double() for c in clients if name in states.get(c, {})
        )
        means[name] = torch.as_tensor(total) / weights[clients].double().sum()
    return means


CASES = [
    *itertools.product(["scaffold", "feddyn"], SCHEMES, ["examples"]),
    *itertools.product(["scaffold", "feddyn"], [SCHEMES[0], CORRECTED], ["uniform"]),
    *itertools.product(["heteroscaffold"], [SCHEMES[0], CORRECTED], ["examples", "uniform"]),
    *itertools.product(["scaffold", "feddyn", "heteroscaffold"], [LOSSY], ["examples"]),
    ("scaffold", {**LOSSY, "method__initialise": True}, "uniform"),
]


@pytest.mark.parametrize(("method", "scheme", "weighting"), CASES)
def test_the_state_is_the_mean_of_all_clients_states_after_every_round(
    method: str,
    scheme: dict[str, Value],
    weighting: str,
    run_small: Runner,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    grids: list[SequentialGrid] = []
    differences: list[float] = []

    lost: list[str] = []

    class KeptGrid(SequentialGrid):
        def get_node_ids(self) -> range:
            grids[:] = [self]
            return super().get_node_ids()  # type: ignore[return-value]

        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for index, reply in enumerate(super().exchange(messages)):
                asked = messages[index]
                if "checkpoint__every" in scheme and index % 2 and losable(asked):
                    number = int(asked.content.config_records[EXCHANGE][NUMBER])  # type: ignore[arg-type]
                    lost.append(reply_name(number, self.client_id(asked.metadata.dst_node_id)))
                    reply = spoilt(reply, asked, len(lost) % 2 == 0)
                yield reply

    def compare(self: FedAvg, server_round: int) -> dict[str, float]:
        if server_round > 0:
            states = {
                grids[0].client_id(node): to_payload(settled(context, lost)).get(STATE[method], {})
                for node in grids[0].alike_nodes
                if (context := grids[0]._context(node))
            }
            everyone = range(self.num_clients)
            holders = {name: [c for c in everyone if holds(self, c, name)] for name in self.parameter_names}
            weights = torch.ones(len(everyone)) if weighting == "uniform" else self.client_examples
            means = mean_over_clients(states, weights, holders)
            own = getattr(self, STATE[method])
            differences.append(max(float((own[n] - m).abs().max()) for n, m in means.items() if n in own))
            assert max(float(mean.abs().max()) for mean in means.values()) > 1e-4
        return {}

    def holds(strategy: FedAvg, client: int, name: str) -> bool:
        population = getattr(strategy, "population", None)
        if population is None:
            return True
        return name in strategy.selection(population.of_clients()[client], 1).indices  # type: ignore[attr-defined]

    monkeypatch.setattr(FedAvg, "columns", compare)
    if scheme.get("participation__name") == "schedule":
        scheme = {**scheme, "participation__file": schedule_file(tmp_path)}
    if "failures__policy" in scheme and "checkpoint__every" not in scheme:
        fail_in_round_two(monkeypatch)
    budget = {"rounds": 4, "local__epochs": 0, "local__steps": 2, "local__batch_size": 8}
    model = model_for(method) or {"model__name": "linear"}
    extra = {"method__alpha": 1.0} if method == "feddyn" else {}
    run_small(
        "run",
        KeptGrid,
        **{
            **model,
            **budget,
            **extra,
            "method__name": method,
            "method__weighting": weighting,
            "partition__name": "quantity",
            "augmentation__name": "none",
            **scheme,
        },
    )
    assert len(differences) == 4
    assert max(differences) < 2e-6


def settled(context: Context, lost: list[str]) -> RecordDict:
    state = RecordDict(dict(context.state))
    settle(state, RecordDict({EXCHANGE: ConfigRecord({NUMBER: 0, LOST: lost})}))
    return state


def losable(asked: Message) -> bool:
    return asked.metadata.message_type in ("train", PRELUDE)


def spoilt(reply: Message, message: Message, is_refused: bool) -> Message:
    if not is_refused:
        return Message(Error(0, "lost on its way"), reply_to=message)
    reply.content.metric_records[METRICS]["num-samples"] = math.nan
    return reply


def fail_in_round_two(monkeypatch: pytest.MonkeyPatch) -> None:
    from clients.base import Client
    from clients.local.training import train_locally

    failed: list[int] = []

    def train(client: Client) -> tuple[int, float]:
        if client.server_round == 2 and not failed:
            failed.append(client.client_id)
            raise ArithmeticError("planted")
        return train_locally(client)

    monkeypatch.setattr("clients.base.train_locally", train)
