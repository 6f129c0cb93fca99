"""Methods whose formulas hold for SGD only refuse other optimisers before any training."""

import pytest

from common.errors import UserError
from common.sections import Value
from tests.conftest import Runner

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


@pytest.mark.parametrize(
    "keys",
    [
        {"method__name": "scaffold", "method__option": 1, "optimizer__name": "lamb"},
        {"method__name": "scaffold", "method__option": 1, **CLIPPED},
        {"method__name": "fednova", **CLIPPED},
    ],
)
def test_what_the_formulas_do_not_depend_on_is_allowed(keys: dict[str, Value], run_small: Runner) -> None:
    run_small(rounds=1, model__name="linear", **keys)
