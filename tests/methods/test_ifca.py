"""IFCA in closed form, in float64: who chooses which cluster, and the means within them."""

import pytest
import torch
from flwr.app import ConfigRecord, MessageType

from clients import ifca
from clients.local.worker import Worker
from clients.registry import load_method
from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.records import to_record, to_tensors
from common.sections import Value
from strategies.ifca import IFCA
from tests.clients.jobs import small, train
from tests.methods.quadratics import LR, Federation, close
from tests.strategies.messages import NodesOnly, make_reply, record

THREE = [(1.0, 1.0), (1.0, 6.0), (1.0, 4.0)]


def federation(**keys: object) -> Federation:
    made = Federation("ifca", THREE, [1] * 3, counts=[1, 1, 3], local=LR, **keys)  # type: ignore[arg-type]
    strategy = made.strategy
    assert isinstance(strategy, IFCA)
    strategy.others = {"cluster-1": {"w": torch.tensor([5.0], dtype=torch.float64)}}
    return made


def other(made: Federation) -> list[float]:
    return made.strategy.others["cluster-1"]["w"].tolist()  # type: ignore[attr-defined, no-any-return]


def test_a_round() -> None:
    made = federation()
    assert made.round() == close(0.1)
    assert [made.replies[i]["w"].item() for i in range(3)] == close(0.1, 5.1, 4.9)
    assert other(made) == close((5.1 + 3 * 4.9) / 4)
    assert made.strategy.round_metrics == {"cluster_0_clients": 1.0, "cluster_1_clients": 2.0}


def test_a_client_that_attacks_turns_round_the_step_from_its_clusters_model() -> None:
    keys: dict[str, Value] = {"attack.name": "sign-flip", "attack.fraction": 1.0}
    made = Federation("ifca", THREE, [1] * 3, local={**LR, **keys, "clients.count": 3})
    made.strategy.others = {"cluster-1": {"w": torch.tensor([5.0], dtype=torch.float64)}}  # type: ignore[attr-defined]
    made.round()
    assert [made.replies[i]["w"].item() for i in range(3)] == close(-0.1, 4.9, 5.1)


def test_a_change_is_counted_from_the_clusters_model() -> None:
    made = federation()
    sent = {"w": torch.zeros(1, dtype=torch.float64)}
    for number, start in ((0, 0.0), (1, 5.0)):
        reply = make_reply({"w": [1.0]}, 1)
        reply.content["cluster"] = record({"chosen": torch.tensor(number)})
        assert made.strategy.trained_from(reply, sent)["w"].tolist() == [start]


@pytest.mark.parametrize("keys", [{"model.individual-init": True}, {"model.weights": "w.safetensors"}])
def test_initial_weights_that_make_no_clusters_are_refused(keys: dict[str, Value]) -> None:
    with pytest.raises(UserError, match=f"leave {next(iter(keys))}"):
        IFCA().check(Config.from_flat(merge(keys)))


def test_weights_count_within_a_cluster() -> None:
    made = federation(weighting="uniform")
    made.round(corrections={0: 9.0, 1: 3.0, 2: 1.0})
    assert other(made) == close((3 * 5.1 + 4.9) / 4)


def test_a_cluster_that_nobody_chose_stays() -> None:
    made = federation()
    made.round([0])
    assert other(made) == close(5.0)
    before = made.w.item()
    assert made.round([1, 2]) == close(before)


def test_one_cluster_is_fedavg() -> None:
    one, average = (Federation(n, THREE, [1] * 3, counts=[1, 1, 3], local=LR) for n in ("ifca", "fedavg"))
    for _ in range(3):
        assert one.round() == average.round()


def test_initial_models_are_other_draws_of_the_same_values() -> None:
    strategy = load_method("ifca", {"clusters": 3}).make_strategy()
    model = {"w": torch.arange(12.0).view(3, 4), "bias": torch.zeros(4)}
    assert strategy.initial_model(model, 0) is model
    first, second = (strategy.variants(model)[f"cluster-{number}"] for number in (1, 2))
    for made in (first, second):
        assert made["w"].flatten().sort().values.tolist() == list(range(12))
        assert not torch.equal(made["w"], model["w"])
    assert not torch.equal(first["w"], second["w"])


def test_clients_are_evaluated_with_all_models() -> None:
    made = federation()
    [message] = made.strategy.configure_evaluate(1, to_record(made.model), ConfigRecord(), NodesOnly([3]))
    assert to_tensors(message.content.array_records["cluster-1"])["w"].tolist() == [5.0]
    client = made.clients[1]
    client.received = {"arrays": made.model, "cluster-1": made.strategy.variants({})["cluster-1"]}
    assert client.personal_model() == {"w": torch.tensor([5.0])}


def test_local_batch_norm_statistics_stay_the_clients_own(batch_norm_model: str) -> None:
    """Where the policy is ``local``: in the choice of a cluster, in training and in prediction."""
    worker = Worker(small(model__name=batch_norm_model, batch_norm__policy="local"))
    start = {name: value.clone() for name, value in worker.initial_model.items()}
    first = train(worker, 0, start, client_class=ifca.IFCA)
    own = first.state["kept-entries"]
    assert own["bn.num_batches_tracked"] == 5
    client = ifca.IFCA(worker, 0, dict(first.state))
    sections = {"arrays": start, "cluster-1": first.model}
    client.train(sections, ConfigRecord({"server-round": 2}))
    assert client.state["kept-entries"]["bn.num_batches_tracked"] == 10
    client._receive(sections, ConfigRecord({"server-round": 2}), MessageType.EVALUATE)
    predicts = client.personal_model()
    assert torch.equal(predicts["bn.running_mean"], client.state["kept-entries"]["bn.running_mean"])
    assert torch.equal(predicts["conv.weight"], first.model["conv.weight"])
