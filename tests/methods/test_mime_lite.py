"""MimeLite in closed form, in float64."""

import pytest

from clients.local.incoming import Section
from clients.local.worker import Worker
from clients.mime_lite import MimeLite
from common.errors import UserError
from tests.clients.jobs import global_model as start_model
from tests.clients.jobs import small, train
from tests.methods.quadratics import LR, Federation, close

TWO = [(1.0, 1.0), (2.0, -1.0)]


def momentum(federation: Federation) -> list[float]:
    return federation.strategy.momentum["w"].tolist()  # type: ignore[attr-defined, no-any-return]


def test_two_rounds() -> None:
    federation = Federation("mime-lite", TWO, [2, 2], local=LR, beta=0.5)
    assert federation.round() == close(-0.04625)
    assert [federation.replies[i]["w"].item() for i in (0, 1)] == close(0.0975, -0.19)
    assert momentum(federation) == close(0.25)  # (1 - beta) times the mean gradient at 0
    assert federation.round() == close(-0.1099140625)
    assert momentum(federation) == close(0.3403125)


def test_the_momentum_weighs_clients_as_the_model_does() -> None:
    absent = Federation("mime-lite", TWO, [2, 2], local=LR, beta=0.5)
    absent.round([0])
    assert momentum(absent) == close(-0.5)
    corrected = Federation("mime-lite", TWO, [2, 2], local=LR, beta=0.5)
    corrected.round([0, 1], corrections={0: 2.0, 1: 1.0})
    assert momentum(corrected) == close(0.0)  # (2 * -1 + 2) / 3
    by_examples = Federation(
        "mime-lite", TWO, [2, 2], counts=[1, 3], local=LR, beta=0.5, weighting="examples"
    )
    by_examples.round()
    assert momentum(by_examples) == close(0.5 * (-1 + 3 * 2) / 4)


def test_without_momentum_it_is_uniform_fedavg() -> None:
    lite, average = (
        Federation("mime-lite", TWO, [2, 3], counts=[1, 5], local=LR, beta=0.0),
        Federation("fedavg", TWO, [2, 3], counts=[1, 5], local=LR, weighting="uniform"),
    )
    for _ in range(3):
        assert lite.round() == average.round()


def test_momentum_of_the_optimiser_is_refused() -> None:
    config = small(optimizer__momentum=0.9, method__name="mime-lite")
    with pytest.raises(UserError, match=r"optimizer\.momentum"):
        MimeLite(Worker(config), 0).validate()


def test_the_gradient_is_that_of_the_received_model() -> None:
    """All local data, whichever mini-batches the steps took."""
    worker = Worker(small())
    start = start_model(worker.config)
    client = MimeLite(worker, 0)
    client.server_round = 1
    worker.load(start)
    expected = client.full_gradient()

    class WithMomentum(MimeLite):
        def receives(self) -> dict[str, Section]:
            return {}

        def begin_round(self) -> None:
            super().begin_round()
            self.received["momentum"] = {name: value * 0 for name, value in self.params.items()}

    sent = train(worker, 0, start, client_class=WithMomentum).sections["gradient"]
    assert all((sent[name] == expected[name]).all() for name in expected)
