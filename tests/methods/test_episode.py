"""EPISODE: numbers of the specification, and its clipped step."""

import pytest
import torch

from common.errors import ClientFailureError, UserError
from common.sections import Value
from tests.conftest import Runner
from tests.methods.preludes import (
    AskingFederation,
    check_batches_of_the_extra_gradient,
    check_identical_clients,
    near,
)
from tests.methods.quadratics import LR, Federation

TWO = [(1.0, 1.0), (3.0, -1.0)]


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


def test_episode_takes_gradients_at_the_global_model() -> None:
    federation = AskingFederation("episode", TWO, [2, 2], local=LR)
    federation.round()
    assert [float(client.state["gradient"]["w"]) for client in federation.clients] == near(-1.0, 3.0)
    assert federation.strategy.gradient["w"].tolist() == near(1.0)  # type: ignore[attr-defined]


def test_episode_refuses_momentum() -> None:
    federation = Federation("episode", TWO, [1, 1], local={**LR, "optimizer.momentum": 0.9})
    with pytest.raises(UserError, match=r"without optimizer\.momentum"):
        federation.clients[0].validate()


def test_identical_clients_have_no_correction() -> None:
    check_identical_clients("episode")


@pytest.mark.parametrize(
    ("parameters", "num_batches"), [({}, 4), ({"gradient_batches": 1}, 1), ({"gradient_batches": 6}, 6)]
)
def test_the_mini_batches_of_an_extra_gradient(parameters: dict[str, Value], num_batches: int) -> None:
    """As many as the round has local steps, unless configured."""
    check_batches_of_the_extra_gradient("episode", num_batches, **parameters)


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.0, 0.0), (2.5, 1.0), (3.5, 0.0)])
def test_episode_tells_whether_a_round_was_clipped(clip_norm: float, expected: float) -> None:
    federation = Federation(
        "episode", [(1.0, 0.0)], [2], [5.0], local={"optimizer.learning-rate": 0.1}, clip_norm=clip_norm
    )
    gradient = {"w": torch.tensor([3.0], dtype=torch.float64)}
    federation.strategy.gradient = gradient  # type: ignore[attr-defined]
    federation.clients[0].state = {"gradient": gradient}
    federation.round()
    assert federation.clients[0].training_metrics["train_clipped_fraction"] == expected


@pytest.mark.parametrize("options", [{}, {"method__name": "scaffold", "method__initialise": True}])
def test_a_prelude_that_fails_everywhere_ends_the_run_as_a_round_does(
    options: dict[str, Value], run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ArithmeticError("planted")

    monkeypatch.setattr("clients.base.Client.answer_prelude", fail)
    keys = {"method__name": "episode", "failures__policy": "drop", "failures__max_fraction": 0.9, **options}
    with pytest.raises(ClientFailureError, match="round 1: all clients failed"):
        run_small(**keys)
