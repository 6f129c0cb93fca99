import pytest

from common.config import Config
from common.config_values import merge
from common.errors import InapplicableKeyError, NoEffectError
from common.sections import Value
from server.named_parameters import (
    check_parameters,
    defaults_of_named,
    differences,
    resolved,
    without_idle_keys,
    without_inherited,
)
from tests.common.configs import make_config


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"partition.name": "classes", "partition.alpha": 0.5}, "partition.alpha"),
        ({"partition.classes-per-client": 2}, "partition.classes-per-client"),
        ({"participation.gamma": 1.0}, "participation.gamma"),
        ({"model.name": "linear", "model.norm": "batch"}, "model.norm"),
        ({"optimizer.name": "adamw", "optimizer.momentum": 0.0}, "optimizer.momentum"),
        ({"topology.name": "ring"}, "topology.name"),
        (
            {"method.name": "a2cid2", "clients.fraction": 1.0, "topology.weights": "metropolis"},
            "topology.weights",
        ),
        ({"method.name": "localsgd", "method.outer-momentum": 0.9}, "method.outer-momentum"),
    ],
)
def test_a_default_that_a_user_sets_for_something_else_is_refused(values: dict[str, Value], key: str) -> None:
    config = Config.from_flat(merge(values))
    check_parameters(config)
    check_parameters(config, values.keys() - {key})
    with pytest.raises(InapplicableKeyError) as raised:
        check_parameters(config, values)
    assert raised.value.key == key


def test_parameters_of_what_is_named() -> None:
    config = make_config({"method.name": "fedprox", "partition.name": "classes", "model.name": "mlp"})
    defaults = defaults_of_named(config)
    assert defaults["method.mu"] == 0.01
    assert defaults["partition.classes-per-client"] == 2
    assert {"model.hidden", "method.weighting", "optimizer.momentum"} <= set(defaults)
    values = without_inherited(config)
    assert values["partition.classes-per-client"] == 2
    assert not {"partition.alpha", "participation.gamma", "model.norm"} & set(values)
    assert resolved(config).flat() == {**defaults, **values}
    assert resolved(resolved(config)) == resolved(config)


def test_weighting_is_recorded_as_the_participation_scheme_sets_it() -> None:
    config = make_config({"participation.name": "power-of-choice"})
    assert defaults_of_named(config)["method.weighting"] == "uniform"
    assert resolved(make_config({"method.weighting": "examples"})).method.parameters == {
        "weighting": "examples"
    }


def test_a_default_that_is_written_out_makes_no_other_run() -> None:
    config = make_config({"method.name": "fedprox"})
    assert differences(config, make_config({"method.name": "fedprox", "method.mu": 0.01})) == []
    other = make_config({"method.name": "fedprox", "method.mu": 0.1})
    assert differences(config, other) == ["method.mu was 0.01 and is 0.1"]
    assert differences(config, make_config({"method.name": "fedavg"})) == [
        "method.name was 'fedprox' and is 'fedavg'"
    ]


IDLE: dict[str, dict[str, Value]] = {
    "local-only": {"method.name": "local-only", "method.weighting": "examples"},
    "gossip-sgd": {"method.name": "gossip-sgd", "clients.fraction": 1.0, "method.weighting": "uniform"},
    "fedasync": {"method.name": "fedasync", "method.weighting": "uniform"},
    "privacy": {"privacy.clipping": "fixed", "method.weighting": "examples"},
    "fedper": {"method.name": "fedper", "method.personal-part": "all", "method.weighting": "uniform"},
    "a need": {"method.name": "localsgd", "method.outer-momentum": 0.5},
    "a switch": {"attack.fraction": 0.5},
    "a topology": {"topology.name": "torus"},
    "a compression": {"method.name": "local-only", "compression.name": "top-k"},
    "a measure": {"method.name": "local-only", "analysis.sharpness-images": 8},
    "a policy": {"method.name": "fedper", "method.personal-part": "all", "batch-norm.policy": "recalibrate"},
}


@pytest.mark.parametrize("values", IDLE.values(), ids=IDLE)
def test_a_key_without_effect_is_refused_of_a_user_and_reset_in_what_was_stored(
    values: dict[str, Value],
) -> None:
    config = Config.from_flat(merge(values))
    *others, idle = values
    with pytest.raises(NoEffectError) as raised:
        without_idle_keys(config, values)
    assert raised.value.key == idle
    rest = make_config({key: values[key] for key in others})
    assert without_idle_keys(config) == rest
    assert without_idle_keys(config, others) == rest
    assert without_idle_keys(rest, others) == rest


@pytest.mark.parametrize(
    "section",
    [
        {"compression.name": "top-k", "compression.fraction": 0.05, "compression.error-feedback": True},
        {"attack.name": "sign-flip", "attack.factor": 2.0, "attack.fraction": 0.5},
        {"privacy.clipping": "fixed", "privacy.noise-multiplier": 0.3},
    ],
    ids=lambda section: next(iter(section)),
)
def test_with_what_is_reset_go_its_parameters(section: dict[str, Value]) -> None:
    alone: dict[str, Value] = {"method.name": "local-only"}
    config = make_config({**alone, **section})
    switch, parameter = list(section)[:2]
    assert without_idle_keys(config, alone) == make_config(alone)
    with pytest.raises(NoEffectError, match=f"^{switch} = .* clients of 'local-only' keep the whole model"):
        without_idle_keys(config, {parameter})


def test_a_parameter_that_does_not_exist_is_refused_in_what_was_stored() -> None:
    with pytest.raises(InapplicableKeyError, match="'fedavg' has no parameter"):
        without_idle_keys(make_config({"method.mu": 0.5}))
