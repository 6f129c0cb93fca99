"""Gossip SGD in closed form, on quadratics in float64."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clients._configuration import complete
from clients.registry import load_method
from common.errors import UserError
from common.records import ARRAYS
from common.sections import Value
from runtimes.run import make_grid
from server.checkpoints.checkpoint import CheckpointStore
from server.personal_model import personal_models
from strategies._decentralised import Decentralised
from tests.conftest import Runner, example_of, small_config
from tests.methods.quadratics import LR, Federation

FOUR = [(1.0, 1.0), (2.0, -1.0), (0.5, 3.0), (3.0, 0.0)]
LAZY: dict[str, Value] = {"topology.weights": "lazy-metropolis"}
W = np.array([[2, 1, 0, 1], [1, 2, 1, 0], [0, 1, 2, 1], [1, 0, 1, 2]]) / 4


def federation(
    quadratics: Sequence[tuple[float, float]], steps: int = 1, method: str = "gossip-sgd", **keys: Value
) -> Federation:
    local = {**LR, **LAZY, **{k: keys.pop(k) for k in list(keys) if "." in k}}
    return Federation(method, quadratics, [steps] * len(quadratics), local=local, **keys)


def models(made: Federation) -> np.ndarray:
    assert isinstance(made.strategy, Decentralised)
    return made.strategy.models[ARRAYS]["w"][:, 0].numpy()


def begin_at(made: Federation, values: Sequence[float]) -> None:
    assert isinstance(made.strategy, Decentralised)
    made.strategy.begin({"w": torch.zeros(1, dtype=torch.float64)})
    made.strategy.models[ARRAYS]["w"][:, 0] = torch.tensor(values, dtype=torch.float64)


def gradients(x: np.ndarray) -> np.ndarray:
    h, b = np.array(FOUR).T
    return h * (x - b)


def test_without_gradients_a_ring_mixes_as_specified() -> None:
    made = federation([(0.0, 0.0)] * 4)
    begin_at(made, [0.0, 4.0, 8.0, 12.0])
    assert made.round() == [6.0]
    assert models(made).tolist() == [4.0, 4.0, 8.0, 8.0]


@pytest.mark.parametrize("order", ["adapt-then-combine", "combine-then-adapt"])
@pytest.mark.parametrize("steps", [1, 3])
def test_quadratics(order: str, steps: int) -> None:
    made, x = federation(FOUR, steps, order=order), np.zeros(4)
    for _ in range(5):
        y = x.copy()
        for _ in range(steps):
            y -= 0.1 * gradients(y)
        x = W @ y if order == "adapt-then-combine" else W @ x + (y - x)
        assert made.round() == pytest.approx([x.mean()], abs=1e-12)
        np.testing.assert_allclose(models(made), x, atol=1e-12)
        distance = np.sqrt(((x - x.mean()) ** 2).mean())
        assert made.strategy.columns(1)["consensus_distance"] == pytest.approx(distance, abs=1e-12)


def test_the_mean_makes_the_step_of_the_mean_gradient() -> None:
    made, orders = federation(FOUR), federation(FOUR, order="combine-then-adapt")
    for _ in range(3):
        before = np.zeros(4) if not made.server_round else models(made).copy()
        [mean] = made.round()
        assert mean == pytest.approx(before.mean() - 0.1 * gradients(before).mean(), abs=1e-12)
        orders.round()


@pytest.mark.parametrize("momentum", ["keep", "average", "reset"])
@pytest.mark.parametrize("steps", [1, 3])
def test_on_the_complete_graph_it_is_local_sgd(momentum: str, steps: int) -> None:
    keys: dict[str, Value] = {"topology.name": "complete", "topology.weights": "metropolis"}
    keys |= {"optimizer.momentum": 0.9, "momentum": momentum}
    gossip, local = federation(FOUR, steps, **keys), federation(FOUR, steps, "localsgd", **keys)
    for _ in range(4):
        assert gossip.round() == pytest.approx(local.round(), abs=1e-12)
    np.testing.assert_allclose(models(gossip), local.w[0].item(), atol=1e-12)
    if momentum == "reset":
        assert gossip.strategy.columns(1)["consensus_distance"] == pytest.approx(0, abs=1e-12)


def test_with_one_step_it_is_minibatch_sgd_on_the_complete_graph() -> None:
    keys: dict[str, Value] = {"topology.name": "complete", "topology.weights": "metropolis"}
    gossip, batch = federation(FOUR, **keys), federation(FOUR, method="minibatch-sgd", **keys)
    for _ in range(4):
        assert gossip.round() == pytest.approx(batch.round(), abs=1e-12)


@pytest.mark.parametrize("momentum", ["keep", "average"])
def test_momentum_of_ones_own_and_mixed(momentum: str) -> None:
    made = federation(FOUR, momentum=momentum, **{"optimizer.momentum": 0.5})
    x, v = np.zeros(4), np.zeros(4)
    for _ in range(5):
        v = 0.5 * v + gradients(x)
        x = W @ (x - 0.1 * v)
        if momentum == "average":
            v = W @ v
        made.round()
        np.testing.assert_allclose(models(made), x, atol=1e-12)


@pytest.mark.parametrize("name", ["ring", "exponential", "torus", "random-regular", "one-peer-exponential"])
def test_consensus_contracts_by_the_gap(name: str) -> None:
    made = federation([(0.0, 0.0)] * 8, **{"topology.name": name, "topology.weights": "metropolis"})
    values = np.random.default_rng(0).standard_normal(8)
    begin_at(made, values.tolist())
    distance = values.std()
    for _ in range(6):
        made.round()
        columns = made.strategy.columns(1)
        assert columns["consensus_distance"] <= (1 - columns["spectral_gap"]) * distance + 1e-12
        distance = columns["consensus_distance"]
        assert models(made).mean() == pytest.approx(values.mean(), abs=1e-12)


def test_a_lost_reply_is_a_client_that_made_no_step() -> None:
    made = federation(FOUR)
    made.round([0, 1, 3])
    y = -0.1 * gradients(np.zeros(4))
    y[2] = 0
    np.testing.assert_allclose(models(made), W @ y, atol=1e-15)


@pytest.mark.parametrize("momentum", ["keep", "average"])
def test_without_any_reply_the_clients_mix(momentum: str) -> None:
    made = federation(FOUR, momentum=momentum, **{"optimizer.momentum": 0.5})
    made.round()
    x = models(made).copy()
    assert made.round([]) == pytest.approx([x.mean()], abs=1e-12)
    np.testing.assert_allclose(models(made), W @ x, atol=1e-12)
    distance = np.sqrt(((W @ x - x.mean()) ** 2).mean())
    assert made.strategy.columns(2)["consensus_distance"] == pytest.approx(distance, abs=1e-12)


def test_checkpoints_of_earlier_versions_name_the_models_otherwise() -> None:
    made, resumed = federation(FOUR), federation(FOUR)
    made.round()
    state = made.strategy.state()
    state["workers"] = state.pop("models")
    resumed.strategy.restore(state)
    assert resumed.strategy.models is made.strategy.models


def test_bytes_of_the_links() -> None:
    made = federation(FOUR)
    made.round()
    assert made.strategy.columns(1)["peer_bytes"] == 4 * 2 * 8  # a float64 over each direction of four links


def test_the_virtual_clock_counts_the_links_of_a_client() -> None:
    for name, links in (("ring", 4), ("complete", 6), ("one-peer-exponential", 2), ("exponential", 4)):
        made = federation(FOUR, **{"topology.name": name})
        made.round()
        found = [made.strategy.bytes_on_the_clock(client, 1, 16) for client in range(4)]
        assert found == [links * 8] * 4


@pytest.mark.parametrize("method", ["gossip-sgd", "gossip-pga", "a2cid2"])
def test_a_clients_own_model_can_be_taken_out(method: str, run_small: Runner) -> None:
    """``predict --client``: those of all clients are apart, and their mean is the run's model."""
    run = run_small(method__name=method, **example_of(method), model__hidden=8, rounds=1)
    config = small_config(run, method__name=method, **example_of(method), model__hidden=8)
    with make_grid(config) as grid:
        checkpoint = CheckpointStore(run / "checkpoints").load_latest()
        assert checkpoint is not None
        found = [weights for _, weights in personal_models(config, grid, checkpoint, range(4))]
    weights = torch.stack([model["classifier.weight"] for model in found])
    assert not torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights.mean(0), checkpoint.arrays["classifier.weight"])


def test_a_run_and_its_rows(run_small: Runner) -> None:
    keys = {**example_of("gossip-sgd"), "method__momentum": "average"}
    rows = pd.read_csv(
        run_small(method__name="gossip-sgd", rounds=2, **keys, model__hidden=8) / "metrics.csv"
    )
    assert rows["spectral_gap"].tolist()[1:] == pytest.approx([2 / 3, 2 / 3])
    assert (rows["consensus_distance"][1:] > 0).all()
    assert rows["peer_bytes"].tolist()[1:] == [2 * up for up in rows["bytes_up"].tolist()[1:]]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"clients__fraction": 0.5}, "set clients.fraction = 1.0"),
        ({"participation__name": "skewed"}, "leave participation.name at 'uniform'"),
        ({"stragglers__fraction": 0.5, "stragglers__policy": "drop"}, "stragglers.policy must be 'keep'"),
        ({"clients__count": 1}, "clients.count = 1: a topology takes"),
        ({"topology__name": "torus", "clients__count": 5}, "topology.rows = 1"),
        ({"privacy__clipping": "fixed"}, "whose clients send their models to each other"),
        ({"method__weighting": "examples"}, "method.weighting"),
        ({"model__sizes": "a"}, "model.sizes"),
    ],
)
def test_what_has_no_meaning_without_a_server(tmp_path: Path, keys: dict[str, Value], says: str) -> None:
    config = {**example_of("gossip-sgd"), **keys}
    with pytest.raises(UserError, match=says):
        check_method(tmp_path, "gossip-sgd", config)


def check_method(path: Path, method: str, keys: dict[str, Value]) -> None:
    config = small_config(path, method__name=method, **keys)
    complete(config)
    load_method(method, config.method.parameters).make_strategy().check(config)


@pytest.mark.parametrize("keys", [{"topology__name": "torus"}, {"topology__weights": "lazy-metropolis"}])
def test_a_topology_of_a_method_with_a_server_is_refused(tmp_path: Path, keys: dict[str, Value]) -> None:
    with pytest.raises(UserError, match="would have no effect: clients of 'fedavg' talk to the server only"):
        complete(small_config(tmp_path, **keys))
