import string
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients._configuration import complete
from common.config import Config
from common.config_values import parse_toml, to_toml
from common.defaults import default_values
from common.errors import UserError
from common.sections import Value
from tests.common.configs import make_config


def error_of(*layers: dict[str, Value]) -> str:
    with pytest.raises(UserError) as raised:
        complete(make_config(*layers))
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_valid_and_are_those_of_pyproject() -> None:
    config = make_config()
    assert config.optimizer.learning_rate == default_values()["optimizer.learning-rate"]
    assert config.flat() == dict(default_values())


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("local.momentun", "optimizer.momentum"),
        ("clients.evaluate_fraction", "clients.evaluate-fraction"),
        ("round", "rounds"),
        ("dataset", "dataset.name"),
        ("loacl.lr", "optimizer.learning-rate"),
        ("resources.gpus-per-clients", "resources.gpus-per-client"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(key: str, nearest: str) -> None:
    assert error_of({key: 1}) == f"unknown key '{key}'; did you mean '{nearest}'?"


def test_keys_of_open_sections_are_left_to_what_they_name() -> None:
    config = make_config({"method.anything": 3, "partition.other": "x"})
    assert config.method.parameters == {"anything": 3}
    assert config.partition.parameters["other"] == "x"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", "ten"),
        ("rounds", 2.5),
        ("rounds", True),
        ("rounds", 0),
        ("optimizer.nesterov", "False"),  # `type=bool` of argparse takes it for True
        ("optimizer.nesterov", 0),
        ("optimizer.learning-rate", "0.1"),
        ("optimizer.learning-rate", 0.0),
        ("optimizer.learning-rate", float("nan")),
        ("optimizer.learning-rate", 1e40),
        ("method.anything", 1e300),
        ("privacy.clip-norm", 1e39),
        ("partition.alpha", 1e-39),
        ("failures.timeout", -1e-300),
        ("optimizer.learning-rate", float("inf")),
        ("optimizer.momentum", 1.0),
        ("optimizer.momentum", -0.1),
        ("local.batch-size", 0),
        ("clients.fraction", 0.0),
        ("clients.fraction", 1.01),
        ("clients.evaluate-fraction", -0.01),
        ("dataset.validation-fraction", 1.0),
        ("failures.max-fraction", 1.0),
        ("failures.timeout", 0.0),
        ("failures.policy", "ignore"),
        ("batch-norm.policy", "none"),
        ("runtime.name", "Ray"),
        ("stop.metric", "accuracy"),
        ("seed", -1),
        ("evaluate.every", 0),
        ("checkpoint.every", 0),
        ("method.name", 3),
        ("method.mu", [1, 2]),
        ("method.mu", date(2026, 1, 1)),
    ],
)
def test_a_wrong_value_is_named_with_its_key(key: str, value: Value) -> None:
    message = error_of({key: value})
    assert message.startswith(f"{key} must be ")
    assert repr(value) in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clients.fraction", 1.0),
        ("clients.fraction", 1),
        ("clients.evaluate-fraction", 0.0),
        ("optimizer.momentum", 0.0),
        ("failures.max-fraction", 0.0),
    ],
)
def test_the_ends_of_ranges_are_valid(key: str, value: float) -> None:
    assert make_config({key: value}).flat()[key] == value


def test_a_literal_names_what_is_possible() -> None:
    assert (
        error_of({"runtime.name": "Ray"})
        == "runtime.name must be 'sequential', 'threads' or 'ray', not 'Ray'"
    )


def test_a_missing_key_is_named() -> None:
    values = dict(default_values())
    del values["optimizer.learning-rate"]
    with pytest.raises(UserError, match=r"no key 'optimizer\.learning-rate'"):
        Config.from_flat(values)


def test_inconsistent_local_keys_are_refused() -> None:
    assert "optimizer.momentum" in error_of({"optimizer.nesterov": True})
    assert "schedule.step-rounds" in error_of({"schedule.name": "step"})
    complete(make_config({"optimizer.nesterov": True, "optimizer.momentum": 0.9}))
    assert make_config({"schedule.name": "step", "schedule.step-rounds": 2})


class TestBudget:
    @pytest.mark.parametrize(
        "layer",
        [{"local.epochs": 1, "local.steps": 1}, {"local.epochs": 0, "local.steps": 0}, {"local.epochs": 0}],
    )
    def test_both_or_neither_is_refused(self, layer: dict[str, Value]) -> None:
        assert error_of(layer) == "set exactly one of local.epochs and local.steps above 0"

    def test_both_in_one_layer_are_fine_if_one_is_zero(self) -> None:
        assert make_config({"local.epochs": 0, "local.steps": 4}).local.steps == 4


class TestOverrides:
    def test_they_are_applied_last(self) -> None:
        text = "optimizer.learning-rate = 0.25\nmethod.mu = 0.5\n[clients]\ncount = 3"
        config = make_config({"optimizer.learning-rate": 0.1, "clients.count": 9}, {"overrides": text})
        assert config.optimizer.learning_rate == 0.25
        assert config.clients.count == 3
        assert config.method.parameters == {"mu": 0.5}
        assert config.overrides == ""

    def test_they_choose_the_budget_like_any_layer(self) -> None:
        assert make_config({"overrides": "local.steps = 5"}).local.epochs == 0
        config = make_config({"local.steps": 5}, {"overrides": "local.epochs = 1"})
        assert (config.local.steps, config.local.epochs) == (0, 1)
        assert (
            make_config({"local.steps": 5}, {"overrides": "optimizer.learning-rate = 1.0"}).local.steps == 5
        )

    def test_wrong_ones_are_refused(self) -> None:
        assert "not valid TOML" in error_of({"overrides": "optimizer.learning-rate 0.1"})
        assert "must not contain" in error_of({"overrides": "overrides = ''"})
        assert "did you mean 'optimizer.learning-rate'" in error_of({"overrides": "local.lrr = 1.0"})


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text(string.ascii_lowercase, min_size=1, max_size=8).filter(lambda name: name != "name")
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
    texts,
)
layers = st.fixed_dictionaries(
    {},
    optional={
        "rounds": st.integers(1, 10**6),
        "seed": st.integers(0, 2**32 - 1),
        "device": texts,
        "dataset.root": texts,
        "run.directory": texts,
        "optimizer.learning-rate": st.floats(1e-30, 1e30),
        "local.steps": st.integers(1, 10**6),
        "clients.fraction": st.floats(1e-30, 1),
        "dataset.download": st.booleans(),
        "method.name": texts,
    },
)


@settings(max_examples=60)
@given(layers, st.dictionaries(names, scalars, max_size=3))
def test_flat_and_toml_round_trip(layer: dict[str, Value], parameters: dict[str, Value]) -> None:
    config = make_config(layer, {f"method.{name}": value for name, value in parameters.items()})
    flat = config.flat()
    assert {key: flat[key] for key in layer} == layer
    again = Config.from_flat(flat)
    assert again == config
    assert again.flat() == flat
    read = parse_toml(to_toml(flat), "config.toml")
    assert read == flat
    assert {key: type(value) for key, value in read.items()} == {k: type(v) for k, v in flat.items()}


def test_a_table_of_experiment_files_is_no_key() -> None:
    with pytest.raises(
        UserError, match=r"search\.trials is not a key of a run: \[search\] is for an experiment"
    ):
        make_config({"search.trials": 3})
