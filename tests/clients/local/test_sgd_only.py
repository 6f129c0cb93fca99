"""Methods whose formulas hold for SGD only refuse other optimisers before any training."""

import pytest

from common.errors import UserError
from common.sections import Value
from tests.conftest import Runner
from tests.methods.quadratics import Federation

OTHERS: list[dict[str, Value]] = [{"optimizer__name": name} for name in ("adamw", "lars", "lamb")]
CLIPPED: dict[str, Value] = {"optimizer__clip_norm": 1.0}


@pytest.mark.parametrize("keys", OTHERS)
@pytest.mark.parametrize("method", ["scaffold", "fednova"])
def test_other_optimizers_are_refused(method: str, keys: dict[str, Value], run_small: Runner) -> None:
    with pytest.raises(UserError, match=rf"'{method}' assumes steps of plain SGD.*set it to 'sgd'"):
        run_small(method__name=method, **keys)


@pytest.mark.parametrize(
    "keys", [{"method__name": "scaffold"}, {"method__name": "fednova", "method__mu": 0.1}]
)
def test_clipped_gradients_are_refused(keys: dict[str, Value], run_small: Runner) -> None:
    with pytest.raises(UserError, match=r"unclipped gradients: set optimizer\.clip-norm to 0"):
        run_small(**keys, **CLIPPED)


@pytest.mark.parametrize("method", ["fedcm", "pfedme"])
def test_decay_beside_clipping_is_refused_where_gradients_cancel_it(method: str, run_small: Runner) -> None:
    keys: dict[str, Value] = {"method__name": method, "optimizer__weight_decay": 0.5, **CLIPPED}
    with pytest.raises(UserError, match=rf"'{method}' has a weight decay of its own.*clip-decay = true"):
        run_small(**keys)


@pytest.mark.parametrize(("method", "keys"), [("fedcm", {}), ("pfedme", {"lam": 5.0, "personal_steps": 60})])
def test_decay_that_is_clipped_as_well_is_as_strong_as_without_clipping(
    method: str, keys: dict[str, Value]
) -> None:
    """h (w - b) + decay w = 0 at the end; with decay beside the clipping it would end at 0.3 = decay w."""
    local: dict[str, Value] = {
        "optimizer.learning-rate": 0.1,
        "optimizer.weight-decay": 0.5,
        "optimizer.clip-norm": 0.3,
        "optimizer.clip-decay": True,
    }
    federation = Federation(method, [(2.0, 3.0)], [1], local=local, **keys)
    for _ in range(400):
        (w,) = federation.round()
    assert w == pytest.approx(2 * 3 / (2 + 0.5), abs=1e-6)


@pytest.mark.parametrize(
    "keys",
    [
        {"method__name": "fedcm", "optimizer__weight_decay": 0.5, "optimizer__clip_decay": True, **CLIPPED},
        {"method__name": "scaffold", "method__option": 1, "optimizer__name": "lamb"},
        {"method__name": "scaffold", "method__option": 1, **CLIPPED},
        {"method__name": "fednova", **CLIPPED},
    ],
)
def test_what_the_formulas_do_not_depend_on_is_allowed(keys: dict[str, Value], run_small: Runner) -> None:
    run_small(rounds=1, model__name="linear", **keys)
