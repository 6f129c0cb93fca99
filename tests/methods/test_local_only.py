"""Local training alone, in closed form, in float64."""

import pytest

from common.errors import UserError
from common.sections import Value
from tests.conftest import Runner
from tests.methods.quadratics import LR, Federation, close


def own(federation: Federation) -> list[float]:
    return [client.state["kept-entries"]["w"].item() for client in federation.clients]


def test_every_client_follows_its_own_gradient() -> None:
    """On Q(h, b) a step of rate 0.1 shrinks w - b by 1 - h / 10; the second client misses a round."""
    federation = Federation("local-only", [(1.0, 4.0), (2.0, -1.0)], [2, 2], local=LR)
    for cohort in ([0, 1], [0], [0, 1]):
        assert federation.run_round(cohort) == {}
        assert not any(federation.replies.values())
    assert own(federation) == close(4 - 4 * 0.9**6, -1 + 0.8**4)


def test_what_others_hold_has_no_say() -> None:
    alone = Federation("local-only", [(1.0, 4.0)], [3], local=LR)
    among = Federation("local-only", [(1.0, 4.0), (9.0, -7.0)], [3, 1], counts=[1, 99], local=LR)
    for _ in range(3):
        alone.run_round()
        among.run_round()
    assert own(among)[0] == own(alone)[0]


@pytest.mark.parametrize("method", [{"name": "local-only"}, {"name": "fedper", "personal_part": "all"}])
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"attack__name": "sign-flip"}, "attack.name = 'sign-flip'"),
        ({"attack__name": "gaussian"}, "attack.name = 'gaussian'"),
        ({"privacy__clipping": "fixed"}, "privacy.clipping = 'fixed'"),
        ({"compression__name": "sign"}, "compression.name = 'sign'"),
        ({"batch_norm__policy": "recalibrate"}, "batch-norm.policy = 'recalibrate'"),
    ],
)
def test_what_would_change_the_sent_model_is_refused(
    run_small: Runner, method: dict[str, Value], options: dict[str, Value], key: str
) -> None:
    chosen = {f"method__{name}": value for name, value in method.items()}
    with pytest.raises(UserError, match=f"{key} would have no effect: clients of '{method['name']}' keep"):
        run_small("run", **chosen, **options)


def test_nor_are_their_models_weighed(run_small: Runner) -> None:
    skewed: dict[str, Value] = {
        "participation__name": "skewed",
        "participation__correction": "inverse-inclusion",
    }
    with pytest.raises(UserError, match="'inverse-inclusion' would have no effect: clients of 'fedper' keep"):
        run_small("run", method__name="fedper", method__personal_part="all", **skewed)


def test_attackers_that_train_on_other_labels_do(run_small: Runner) -> None:
    run_small("run", method__name="local-only", attack__name="label-flip", rounds=1)
