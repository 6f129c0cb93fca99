"""Minibatch SGD: numbers of the specification, and what it is equal to."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from common.sections import Value
from tests.conftest import Runner
from tests.methods.quadratics import Federation

LR: dict[str, Value] = {"optimizer.learning-rate": 0.1}
TWO = [(1.0, 1.0), (3.0, -1.0)]


@pytest.mark.parametrize(
    ("clip_norm", "decay", "expected"),
    [(1.0, 0.0, [0.9, 0.8, 0.7]), (1e9, 0.5, [0.65, 0.3875, 0.190625]), (0.0, 0.5, [0.65, 0.3875, 0.190625])],
)
def test_oracle(clip_norm: float, decay: float, expected: list[float]) -> None:
    """O-18 of the specification of the studies of Local SGD; gamma is eta times ``clip_norm``."""
    local = {**LR, "optimizer.weight-decay": decay}
    federation = Federation("minibatch-sgd", TWO, [2, 2], [1.0], local=local, clip_norm=clip_norm)
    assert [federation.round()[0] for _ in range(3)] == pytest.approx(expected, abs=1e-9)


def test_the_number_of_batches_does_not_matter_where_they_are_equal() -> None:
    for steps in (1, 2, 5):
        federation = Federation("minibatch-sgd", TWO, [steps] * 2, local=LR)
        assert federation.round() == pytest.approx([-0.1], abs=1e-12)
        for reply in federation.replies.values():  # nobody has moved more than one step
            assert reply["w"].abs().item() <= 0.3 + 1e-12


def model(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def test_batches_one_by_one_are_a_batch_of_their_union(run_small: Runner) -> None:
    """I batches of b against one of I b, on the same samples, weight decay included."""
    common: dict[str, Value] = {
        "method__name": "minibatch-sgd", "model__name": "mlp", "rounds": 4, "clients__fraction": 1.0,
        "local__epochs": 0, "optimizer__weight_decay": 0.01, "augmentation__name": "none",
    }  # fmt: skip
    many = run_small("many", local__steps=4, local__batch_size=8, **common)
    whole = run_small("whole", local__steps=1, local__batch_size=32, **common)
    assert pd.read_csv(many / "metrics.csv")["local_steps"].iloc[-1] == 4 * 6
    for name, value in model(whole).items():
        torch.testing.assert_close(model(many)[name], value, rtol=2e-5, atol=2e-6)


def test_one_step_per_round_is_fedavg_with_one_step(run_small: Runner) -> None:
    common: dict[str, Value] = {"model__name": "mlp", "local__epochs": 0, "local__steps": 1}
    same = run_small("m", method__name="minibatch-sgd", **common)
    average = run_small("a", method__weighting="uniform", **common)
    assert (same / "model.safetensors").read_bytes() == (average / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"optimizer__momentum": 0.9}, "without optimizer.momentum"),
        ({"optimizer__clip_norm": 1.0}, "method.clip-norm"),
    ],
)
def test_what_would_make_other_steps_is_refused(
    overrides: dict[str, Value], match: str, run_small: Runner
) -> None:
    with pytest.raises(UserError, match=match):
        run_small(method__name="minibatch-sgd", model__name="linear", **overrides)
