"""EPISODE, and SCAFFOLD's controls that begin with gradients: numbers of the specification."""

from collections.abc import Sequence

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from clients.base import Client
from clients.local.batches import Batch
from common.errors import UserError
from common.records import METRICS, Tensors, to_record
from common.sections import Value
from tests.methods.federation import LossFederation
from tests.methods.quadratics import Federation, Point
from tests.strategies.messages import make_message

LR: dict[str, Value] = {"optimizer.learning-rate": 0.1}
TWO = [(1.0, 1.0), (3.0, -1.0)]
THREE = [*TWO, (2.0, 0.0)]


class AskingFederation(Federation):
    """A federation whose clients answer what the strategy asks before a round."""

    def round(self, cohort: Sequence[int] | None = None) -> list[float]:
        chosen = range(len(self.clients)) if cohort is None else cohort
        number = self.server_round + 1
        replies = []
        for client_id in self.strategy.prelude_clients(number, chosen):
            config = ConfigRecord({"server-round": number})
            sections, metrics = self.clients[client_id].answer_prelude({"arrays": self.model}, config)
            content = RecordDict({name: to_record(section) for name, section in sections.items()})
            content[METRICS] = MetricRecord(dict(metrics))
            replies.append(Message(content, reply_to=make_message()))
        if replies:
            self.strategy.aggregate_prelude(number, replies)
        return super().round(cohort)

    def controls(self) -> list[float]:
        return [float(client.state["control"]["w"]) for client in self.clients]


def close(*values: float) -> object:
    return pytest.approx(list(values), abs=1e-7)


def test_scaffold_with_initialised_controls() -> None:
    federation = AskingFederation("scaffold", TWO, [2, 2], local=LR, initialise=True)
    assert federation.round() == close(-0.18)
    assert federation.controls() == close(-1.05, 2.85)
    assert federation.strategy.control["w"].tolist() == close(0.9)  # type: ignore[attr-defined]
    assert [federation.round()[0] for _ in range(2)] == close(-0.2965, -0.370735)
    for _ in range(60):
        (w,) = federation.round()
    assert w == pytest.approx(-0.5, abs=1e-6)  # the optimum, which FedAvg misses
    assert federation.controls() == close(-1.5, 1.5)


def test_scaffold_without_initialised_controls() -> None:
    federation = AskingFederation("scaffold", TWO, [2, 2], local=LR)
    assert [federation.round()[0] for _ in range(2)] == close(-0.16, -0.2815)


def test_scaffold_with_partial_participation() -> None:
    federation = AskingFederation("scaffold", THREE, [2] * 3, local=LR, initialise=True)
    for cohort, w, control in (([0, 2], -0.1233333, 0.6333333), ([1, 2], -0.1865167, 0.4217222)):
        absent = ({0, 1, 2} - set(cohort)).pop()
        before = federation.controls()[absent] if federation.server_round else None
        assert federation.round(cohort) == close(w)
        assert federation.strategy.control["w"].tolist() == close(control)  # type: ignore[attr-defined]
        assert sum(federation.controls()) / 3 == pytest.approx(control, abs=1e-7)
        assert before in (None, federation.controls()[absent])


def test_identical_clients_have_no_correction() -> None:
    for method, parameters in (("scaffold", {"initialise": True}), ("episode", {})):
        same = AskingFederation(method, [(1.0, 2.0)] * 3, [4] * 3, local=LR, **parameters)
        average = Federation("fedavg", [(1.0, 2.0)] * 3, [4] * 3, local=LR)
        for _ in range(3):
            assert same.round() == pytest.approx(average.round(), abs=1e-12)


@pytest.mark.parametrize(
    ("clip_norm", "decay", "norm", "expected"),
    [
        (2.5, 0.0, 2.0, (0.8, -2.2)),  # gamma / eta = 0.25 / 0.1: not clipped, since ||G|| is smaller
        (2.5, 0.0, 3.0, (0.823223, -2.176777)),
        (0.0, 0.0, 3.0, (0.8, -2.2)),
    ],
)
def test_a_clipped_step(clip_norm: float, decay: float, norm: float, expected: tuple[float, float]) -> None:
    assert one_step((-1.0, -2.0), clip_norm, decay, norm) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("clip_norm", "decay", "expected"),
    [
        (2.5, 0.0, (0.85, -2.2)),
        (2.5, 0.5, (0.810186, -2.162698)),
        (1e9, 0.5, (0.65, -2.3)),
        (1e-4, 0.5, (1.0, -2.0)),
    ],
)
def test_the_clipped_step_includes_weight_decay(
    clip_norm: float, decay: float, expected: tuple[float, float]
) -> None:
    """Without a correction, and with ||G|| above the threshold exactly where the step's own norm is."""
    w = one_step((0.0, 0.0), clip_norm, decay, 1e6)
    assert w == pytest.approx(expected, abs=2e-5)
    length = torch.dist(torch.tensor(w, dtype=torch.float64), torch.tensor([1.0, -2.0], dtype=torch.float64))
    if clip_norm < 1e6:  # every clipped step is as long
        assert length == pytest.approx(0.1 * clip_norm, rel=1e-9)


def one_step(correction: tuple[float, float], clip_norm: float, decay: float, norm: float) -> list[float]:
    """Step from w = (1, -2) with gradient (3, 4), correction G - L_i and ||G|| given."""
    local: dict[str, Value] = {**LR, "optimizer.weight-decay": decay}
    federation = Federation(
        "episode", [(1.0, (-2.0, -6.0))], [1], [1.0, -2.0], local=local, clip_norm=clip_norm
    )
    mean = torch.tensor([norm, 0.0], dtype=torch.float64)
    own = mean - torch.tensor(correction, dtype=torch.float64)
    federation.strategy.gradient = {"w": mean}  # type: ignore[attr-defined]
    federation.clients[0].state = {"gradient": {"w": own}}
    return federation.round()


def test_the_clipped_step_leaves_out_a_decay_that_is_excluded() -> None:
    local: dict[str, Value] = {
        **LR,
        "optimizer.weight-decay": 0.5,
        "optimizer.weight-decay-exclude": "norm-bias",
    }
    federation = Federation("episode", [(1.0, (-2.0, -6.0))], [1], [1.0, -2.0], local=local, clip_norm=2.5)
    zero = torch.zeros(2, dtype=torch.float64)
    federation.strategy.gradient = {"w": zero + 1e6}  # type: ignore[attr-defined]
    federation.clients[0].state = {"gradient": {"w": zero + 1e6}}
    assert federation.round() == pytest.approx((0.85, -2.2), abs=1e-6)


def test_initial_controls_have_weight_decay_like_later_ones() -> None:
    """With a decay the losses are those with h / 2 (w - b)^2 + decay / 2 w^2, controls included."""
    decayed = AskingFederation(
        "scaffold", THREE, [2] * 3, [2.0], local={**LR, "optimizer.weight-decay": 0.5}, initialise=True
    )
    shifted = [(h + 0.5, h * b / (h + 0.5)) for h, b in THREE]
    plain = AskingFederation("scaffold", shifted, [2] * 3, [2.0], local=LR, initialise=True)
    for cohort in ([0, 2], [1, 2], [0, 1]):
        assert decayed.round(cohort) == pytest.approx(plain.round(cohort), abs=1e-12)
        assert decayed.controls() == pytest.approx(plain.controls(), abs=1e-12)


def test_episode_takes_gradients_at_the_global_model() -> None:
    federation = AskingFederation("episode", TWO, [2, 2], local=LR)
    federation.round()
    assert [float(client.state["gradient"]["w"]) for client in federation.clients] == close(-1.0, 3.0)
    assert federation.strategy.gradient["w"].tolist() == close(1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "parameters", "num_batches"),
    [
        ("scaffold", {"initialise": True}, 4),
        ("episode", {}, 4),
        ("episode", {"gradient_batches": 1}, 1),
        ("episode", {"gradient_batches": 6}, 6),
    ],
)
def test_the_mini_batches_of_an_extra_gradient(
    method: str, parameters: dict[str, Value], num_batches: int
) -> None:
    """As many as the round has local steps, unless told; the gradient of the n-th mini-batch is n here."""
    sizes: list[int] = []

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        sizes.append(len(batch))
        return len(sizes) * params["w"].sum()

    local: dict[str, Value] = {**LR, "local.batch-size": 3}
    federation = LossFederation(method, [loss], [4], lambda: Point([0.0]), [5], local, **parameters)
    config = ConfigRecord({"server-round": 1})
    sections, _ = federation.clients[0].answer_prelude({"arrays": federation.model}, config)
    assert sizes == [3, 2, 3, 2, 3, 2][:num_batches]  # a pass over five samples has two mini-batches
    (section,) = sections.values()
    assert section["w"].tolist() == close((num_batches + 1) / 2)


def test_episode_refuses_momentum() -> None:
    federation = Federation("episode", TWO, [1, 1], local={**LR, "optimizer.momentum": 0.9})
    with pytest.raises(UserError, match=r"without optimizer\.momentum"):
        federation.clients[0].validate()
