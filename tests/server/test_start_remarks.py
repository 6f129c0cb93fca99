"""What a run says before it starts of settings that do nothing in it; others stand with their subjects."""

from pathlib import Path

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


def test_weights_of_models_that_clients_keep(
    tmp_path: Path, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own" / "clients").mkdir(parents=True)
    (tmp_path / "own" / "clients" / "keeps_all.py").write_text(
        "from clients.base import Client\n\n\nclass KeepsAll(Client):\n"
        "    def personal_names(self):\n        return list(self.worker.model.state_dict())\n"
    )
    keys = {"method__name": "keeps-all", "plugins": str(tmp_path / "own"), "rounds": 1}
    run_small("plain", **keys)
    assert "method.weighting has no effect" not in capsys.readouterr().out
    run_small("weighted", **keys, method__weighting="uniform")
    assert "method.weighting has no effect: there is no mean of models" in capsys.readouterr().out
