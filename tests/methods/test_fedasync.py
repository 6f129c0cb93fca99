"""FedAsync: updates with the numbers of the specification."""

import pytest
import torch

from clients.registry import load_method
from tests.methods.asynchronous import make, update
from tests.methods.quadratics import Federation

DOUBLE = torch.float64


@pytest.mark.parametrize(
    ("staleness", "expected"),
    [
        ("constant", [2.2] * 5),
        ("polynomial", [2.2, 1.8485281374, 1.5366563146, 1.4898979486, 1.4]),
        ("hinge", [2.2, 2.2, 2.2, 1.1090909091, 1.0292682927]),
    ],
)
def test_fedasync(staleness: str, expected: list[float]) -> None:
    strategy = make("fedasync", staleness=staleness)
    for drift in (0.0, 0.7):  # y = 3, whatever the version was that a client began with
        found = [update(strategy, [(2.0 - d * drift, d)], drift=drift) for d in (0, 1, 4, 5, 8)]
        assert found == pytest.approx(expected, abs=1e-9)


def test_fedasync_pulls_its_clients_back_by_default() -> None:
    method = load_method("fedasync", {})
    worker = Federation("fedavg", [(0.0, 0.0)], [1]).clients[0].worker
    client = method.client_class(worker, 0, {}, dict(method.client_parameters))
    client.received = {"arrays": {"w": torch.tensor([1.0], dtype=DOUBLE)}}
    gradients = client.correct_gradients(
        {"w": torch.tensor([4.0], dtype=DOUBLE)}, {"w": torch.tensor([0.5], dtype=DOUBLE)}
    )
    assert gradients["w"].tolist() == pytest.approx([0.5 + 0.005 * 3])
