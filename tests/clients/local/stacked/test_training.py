"""What changes local steps changes them in a stack in the same way."""

import pytest
import torch

from clients.base import Client
from clients.local.stacked.answers import ALONE
from common.sections import Value
from tests.contract.test_stacked import Rounds, check_equal, precision, stacks, tiny

__all__ = ["stacks"]

SETTINGS: dict[str, dict[str, Value]] = {
    "dropout, padded": {"model__name": "small-cnn"},
    "dropout by step": {"model__name": "small-cnn", "local__steps": 3, "local__sampling": "shard"},
    "dealt data": {"local__steps": 3, "local__sampling": "shuffle", "method__name": "localsgd"},
    "replacement": {"local__steps": 2, "local__sampling": "replacement"},
    "momentum and decay": {
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 0.01,
        "optimizer__weight_decay_exclude": "norm-bias",
    },
    "clipping": {"optimizer__clip_norm": 0.5, "optimizer__weight_decay": 0.1, "optimizer__clip_decay": True},
    "adamw": {"optimizer__name": "adamw", "optimizer__learning_rate": 0.01},
    "adamw that is kept": {
        "optimizer__name": "adamw",
        "optimizer__learning_rate": 0.01,
        "method__name": "localsgd",
        "method__momentum": "keep",
    },
    **{f"loss {name}": {"loss__name": name} for name in ("focal", "focus", "hinge", "ldam")},
    "label noise": {"dataset__label_noise": 0.2},
    "client noise": {"dataset__client_noise": 0.1},
    "flipped labels": {"attack__name": "label-flip", "attack__fraction": 0.5, "augmentation__name": "none"},
    "nothing that changes samples": {"augmentation__name": "none"},
    "steps that vary": {"schedule__warmup_steps": 3, "local__steps": 2},
    "late clients": {"stragglers__fraction": 0.5},
    "single samples": {"local__batch_size": 1, "local__steps": 2, "model__name": "stage-resnet"},
    "local statistics": {"model__name": "stage-resnet", "batch_norm__policy": "local"},
    **{
        f"local statistics of the teacher, {name}": {
            "method__name": name,
            "model__name": "stage-resnet",
            "batch_norm__policy": "local",
        }
        for name in ("moon", "fedntd", "fedgkd")
    },
}
SMALL_RESNET: dict[str, Value] = {"model__blocks": "1-1-1-1", "model__width": 2}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_local_training(setting: str, stacks: list[int]) -> None:
    keys = SETTINGS[setting]
    model = SMALL_RESNET if keys.get("model__name") == "stage-resnet" else {}
    config = tiny(str(keys.get("method__name", "fedavg")), **{"clients__count": 4, **keys, **model})
    with precision(torch.float64):
        stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 1e-10)
    assert set(stacked.said) <= ({ALONE} if "kept" in setting else set())  # Adam's counts of steps differ
    assert max(stacks) > 1


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"optimizer__name": "lars"}, "optimizer.name 'lars' looks at more than one element"),
        ({"local__compile": True}, "local.compile compiles the model for one client"),
        (
            {"local__channels_last": True, "model__name": "small-cnn"},
            "dropout draws in another order",
        ),
    ],
)
def test_what_cannot_be_stacked_is_said_and_trained_one_by_one(
    keys: dict[str, Value], reason: str, stacks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: None)
    config = tiny("fedavg", **{"local__steps": 1, "rounds": 1, **keys})
    stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 0.0)
    (line,) = stacked.said
    assert reason in line
    assert stacks == []


def test_a_client_that_fails_has_the_error_and_the_others_train_on(
    monkeypatch: pytest.MonkeyPatch, stacks: list[int]
) -> None:
    def fail(client: Client) -> None:
        if client.client_id == 1:
            raise ArithmeticError("planted")

    monkeypatch.setattr(Client, "begin_round", fail)
    config = tiny("fedavg", rounds=1)
    with pytest.raises(AssertionError, match="ArithmeticError: planted"):
        Rounds(config, 8)
    assert max(stacks) == config.clients.count - 1


def test_a_stack_whose_step_fails_is_trained_one_by_one(
    monkeypatch: pytest.MonkeyPatch, stacks: list[int]
) -> None:
    def fail(*arguments: object) -> None:
        raise ArithmeticError("planted")

    monkeypatch.setattr("clients.local.stacked.training.StackedTraining.run", fail)
    config = tiny("fedavg", rounds=1)
    stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 0.0)
    assert "ArithmeticError: planted" in stacked.said[0]
    assert stacks == []


def test_a_method_from_outside_is_stacked(stacks: list[int]) -> None:
    config = tiny("tests.clients.outside:Halved")
    with precision(torch.float64):
        stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 1e-10)
    assert stacked.said == []
    assert max(stacks) == config.clients.count


@pytest.mark.parametrize("name", ["DrawsFirst", "DrawsInSteps", "DrawsOnce", "DrawsLast"])
def test_one_that_draws_is_not(name: str) -> None:
    config = tiny(f"tests.clients.outside:{name}", rounds=1)
    stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 0.0)
    assert {line.partition(": ")[2] for line in stacked.said} == {
        "code from outside the project draws from generators that all clients share"
    }


def test_one_that_writes_into_the_model_that_is_sent_is_not() -> None:
    config = tiny("tests.clients.outside:Writes", rounds=1)
    stacked, alone = Rounds(config, 8), Rounds(config, 1)
    check_equal(stacked, alone, 0.0)
    assert "end_round writes into the model" in stacked.said[0]
