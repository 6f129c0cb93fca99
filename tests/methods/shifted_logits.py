"""What methods that shift the logits of the cross-entropy by class counts have in common."""

from clients.base import Client
from clients.local.worker import Worker
from common.sections import Value
from tests.clients.jobs import equal, global_model, small, train

LINEAR: dict[str, Value] = {"model__name": "linear", "partition__alpha": 0.2}


def check_that_without_strength_it_is_fedavg(method: type[Client]) -> None:
    config = small(**LINEAR)
    start = global_model(config)
    plain = train(Worker(config), 0, start, client_class=type("Plain", (method,), {"tau": 0.0}))
    assert equal(plain.model, train(Worker(config), 0, start).model)


def check_that_absent_classes_are_not_unlearnt(method: type[Client]) -> None:
    config = small(**LINEAR)
    start = global_model(config)
    result = train(Worker(config), 0, start, client_class=method)
    absent = result.client.label_counts() == 0
    assert absent.any()
    change = (result.model["classifier.weight"] - start["classifier.weight"]).abs().sum(1)
    assert (change[absent] == 0).all()
    assert (change[~absent] > 0).all()
