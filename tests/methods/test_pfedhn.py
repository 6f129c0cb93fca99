"""pFedHN: the gradients of the specification by hand, and what becomes of clients that are not there."""

from collections.abc import Sequence

import pytest
import torch
from flwr.app import ConfigRecord

from clients.registry import load_method
from common.records import to_record, to_tensors
from common.sections import Value
from strategies._hypernetwork import generated, initial_hypernetwork
from strategies._run_facts import RunFacts
from strategies.pfedhn import PFedHN
from tests.strategies.messages import NodesOnly, make_reply

DOUBLE = torch.float64
PLAIN: dict[str, Value] = {
    "hidden-layers": 0,
    "embedding-size": 2,
    "hyper-learning-rate": 1.0,
    "embedding-learning-rate": 1.0,
    "hyper-momentum": 0.0,
    "hyper-weight-decay": 0.0,
    "hyper-clip-norm": 0.0,
}


def linear(embeddings: Sequence[Sequence[float]], **keys: Value) -> PFedHN:
    """Return a strategy with theta = V e."""
    given = PLAIN | {key.replace("_", "-"): value for key, value in keys.items()}
    strategy = load_method("pfedhn", given).make_strategy()
    assert isinstance(strategy, PFedHN)
    count = len(embeddings)
    ids = {client + 2: client for client in range(count)}
    strategy.setup(RunFacts(count, ["w"], client_ids=ids))
    strategy.hypernetwork = {
        "to-w/weight": torch.tensor([[1.0, 0.0], [2.0, -1.0]], dtype=DOUBLE),
        "to-w/bias": torch.zeros(2, dtype=DOUBLE),
    }
    strategy.embeddings = torch.tensor(embeddings, dtype=DOUBLE)
    return strategy


def run_round(
    strategy: PFedHN, returned: dict[int, tuple[list[float], int]], number: int = 1
) -> tuple[list[list[float]], list[float]]:
    """Return what clients were sent, and the next global model."""
    grid = NodesOnly([client + 2 for client in returned])
    model = to_record({"w": torch.zeros(2, dtype=DOUBLE), "seen": torch.tensor(3)})
    config = ConfigRecord({"server-round": number})
    messages = list(strategy.configure_train(number, model, config, grid))
    sent = [to_tensors(message.content.array_records["arrays"])["w"].tolist() for message in messages]
    replies = []
    for client, (values, examples) in returned.items():
        arrays = {"w": torch.tensor(values, dtype=DOUBLE), "seen": torch.tensor(5)}
        reply = make_reply(arrays, num_examples=examples)
        reply.metadata.__dict__["_src_node_id"] = client + 2
        replies.append(reply)
    arrays, _ = strategy.aggregate_train(number, replies)
    assert arrays is not None
    result = to_tensors(arrays)
    assert result["seen"] == 5  # buffers are averaged
    return sent, result["w"].tolist()


def test_one_client_as_specified() -> None:
    strategy = linear([[0.5, 1.0]])
    sent, model = run_round(strategy, {0: ([0.2, -0.3], 1)})
    assert sent == [[0.5, 0.0]]
    expected = torch.tensor([[0.85, -0.3], [1.85, -1.3]], dtype=DOUBLE)  # V - [[.15, .3], [.15, .3]]
    torch.testing.assert_close(strategy.hypernetwork["to-w/weight"], expected)
    torch.testing.assert_close(strategy.hypernetwork["to-w/bias"], torch.tensor([-0.3, -0.3], dtype=DOUBLE))
    embedding = torch.tensor([0.5 - 0.9, 1 + 0.3], dtype=DOUBLE)
    torch.testing.assert_close(strategy.embeddings[0], embedding)
    assert model == pytest.approx((expected @ embedding - 0.3).tolist())


@pytest.mark.parametrize(("weighting", "shares"), [("uniform", (0.5, 0.5)), ("examples", (0.25, 0.75))])
def test_a_cohort_has_the_mean_for_phi_and_each_its_own_embedding(
    weighting: str, shares: tuple[float, float]
) -> None:
    strategy = linear([[0.5, 1.0], [1.0, 0.0], [7.0, 7.0]], weighting=weighting)
    run_round(strategy, {0: ([0.2, -0.3], 1), 1: ([0.0, 2.0], 3)})
    first, second = torch.tensor([[0.15, 0.3], [0.15, 0.3]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([[1.0, 0.0], [2.0, -1.0]]) - shares[0] * first - shares[1] * second
    torch.testing.assert_close(strategy.hypernetwork["to-w/weight"], expected.double(), rtol=0, atol=1e-7)
    found = strategy.embeddings.tolist()
    assert found[0] == pytest.approx([-0.4, 1.3])
    assert found[1] == pytest.approx([0.0, 0.0])  # e - V^T (1, 0)
    assert found[2] == [7.0, 7.0]


def test_a_client_that_changes_nothing_moves_nothing() -> None:
    strategy = linear([[0.5, 1.0], [1.0, 0.0]])
    before = strategy.hypernetwork["to-w/weight"].clone()
    run_round(strategy, {0: ([0.5, 0.0], 1)})
    assert torch.equal(strategy.hypernetwork["to-w/weight"], before)
    assert strategy.embeddings.tolist() == [[0.5, 1.0], [1.0, 0.0]]


def test_momentum_decay_and_clipping() -> None:
    """The whole gradient of the case above: V 0.45 in square, bias 0.18, embedding 0.9."""
    norm = (0.15**2 * 2 + 0.3**2 * 2 + 0.3**2 * 2 + 0.81 + 0.09) ** 0.5
    strategy = linear([[0.5, 1.0]], hyper_clip_norm=norm / 2, hyper_weight_decay=0.1, hyper_momentum=0.5)
    run_round(strategy, {0: ([0.2, -0.3], 1)})
    step = 0.5 * 0.15 + 0.1 * 1.0
    assert strategy.velocity["to-w/weight"][0, 0].item() == pytest.approx(step, abs=1e-5)
    value = strategy.hypernetwork["to-w/weight"][0, 0].item()
    assert value == pytest.approx(1 - step, abs=1e-5)
    own = generated(strategy.hypernetwork, strategy.embeddings[0], {"w": torch.Size([2])})["w"].tolist()
    run_round(strategy, {0: (own, 1)}, 2)  # no change: decay and momentum alone
    assert strategy.velocity["to-w/weight"][0, 0].item() == pytest.approx(0.5 * step + 0.1 * value, abs=1e-5)


def test_hidden_layers_are_those_of_a_perceptron() -> None:
    shapes = {"a": torch.Size([2, 3]), "b": torch.Size([4])}
    weights = initial_hypernetwork(shapes, 5, 2, 7, torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in weights.items() if name.endswith("weight")} == {
        "hidden-0/weight": (7, 5),
        "hidden-1/weight": (7, 7),
        "to-a/weight": (6, 7),
        "to-b/weight": (4, 7),
    }
    assert max(float(value.abs().max()) for value in weights.values()) <= 5**-0.5
    embedding = torch.randn(5)
    hidden = embedding
    for index in (0, 1):
        hidden = (weights[f"hidden-{index}/weight"] @ hidden + weights[f"hidden-{index}/bias"]).clamp(min=0)
    made = generated(weights, embedding, shapes)
    expected = (weights["to-a/weight"] @ hidden + weights["to-a/bias"]).view(2, 3)
    torch.testing.assert_close(made["a"], expected)
    assert made["b"].shape == (4,)


def test_the_size_of_embeddings_and_the_first_model() -> None:
    strategy = load_method("pfedhn", {"hidden-size": 3}).make_strategy()
    assert isinstance(strategy, PFedHN)
    strategy.setup(RunFacts(10, ["w"], client_ids={client + 2: client for client in range(10)}))
    model = strategy.initial_model({"w": torch.zeros(2, dtype=DOUBLE), "seen": torch.tensor(3)}, seed=0)
    assert strategy.embeddings.shape == (10, 3)  # floor(1 + 10 / 4)
    mean = generated(strategy.hypernetwork, strategy.embeddings.mean(0), {"w": torch.Size([2])})["w"]
    assert model["w"].tolist() == mean.double().tolist()
    assert model["seen"] == 3


def test_evaluation_after_a_checkpoint_needs_no_round() -> None:
    """A client's own model can be asked for from what a checkpoint holds alone."""
    strategy = linear([[0.5, 1.0], [1.0, 0.0]])
    model = to_record({"w": torch.zeros(2, dtype=DOUBLE)})
    [message] = strategy.configure_evaluate(3, model, ConfigRecord(), NodesOnly([3]))
    assert to_tensors(message.content.array_records["arrays"])["w"].tolist() == [1.0, 2.0]
