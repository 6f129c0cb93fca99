"""What a run says before it starts of settings that do nothing in it; others stand with their subjects."""

import pytest

from tests.conftest import Runner


@pytest.mark.parametrize(("model", "said"), [("mlp", True), ("lenet", False)])
def test_a_layout_of_convolutions_that_are_not_there(
    model: str, said: bool, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = {"model__name": model, **({"dataset__image_size": 28} if model == "lenet" else {})}
    run_small("run", rounds=1, local__channels_last=True, **overrides)
    assert ("local.channels-last has no effect: the model has no two-dim" in capsys.readouterr().out) == said


@pytest.mark.parametrize("policy", ["local", "recalibrate"])
def test_a_policy_for_layers_that_are_not_there(
    policy: str, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    run_small("run", rounds=1, batch_norm__policy=policy)
    assert f"batch-norm.policy = '{policy}' has no effect: the model has no" in capsys.readouterr().out
