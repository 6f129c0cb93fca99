import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import clients
import strategies
from clients._configuration import complete, run_differences
from clients.base import Client
from clients.registry import available_methods, load_method
from common.config import Config
from common.config_values import merge
from common.errors import nearest, unknown_name
from common.package_modules import available_plugins, find_class
from common.parameters import class_parameters, function_parameters, parse_parameters
from strategies.fedavg import FedAvg
from tests.conftest import small_config
from tests.refusals import error_of


class Base:
    TRANSIENT = ("x",)
    mu: Annotated[float, Field(ge=0)] = 0.1
    _hidden: int = 1
    no_default: int


class Derived(Base):
    local_epochs: Annotated[int, Field(gt=0)] = 2
    mode: Literal["a", "b"] = "a"
    flag: bool = False


class TestParameters:
    DECLARED = class_parameters(Derived)

    def test_they_are_the_annotated_public_attributes_with_a_default(self) -> None:
        assert set(self.DECLARED) == {"mu", "local_epochs", "mode", "flag"}
        assert self.DECLARED["mu"][1] == 0.1

    def test_defaults_fill_in(self) -> None:
        parsed = parse_parameters("method", "x", self.DECLARED, {"local-epochs": 5, "mu": 1})
        assert parsed == {"mu": 1.0, "local_epochs": 5, "mode": "a", "flag": False}

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"mu": -0.5}, "method.mu must be greater than or equal to 0, not -0.5"),
            ({"mu": "big"}, "method.mu must be a valid number, not 'big'"),
            ({"mu": float("nan")}, "method.mu must be a finite number, not nan"),
            ({"local-epochs": 0}, "method.local-epochs must be greater than 0, not 0"),
            ({"local-epochs": 1.5}, "method.local-epochs must be a valid integer, not 1.5"),
            (
                {"local-epochs": 2e1},
                "method.local-epochs must be an integer, without a point or an exponent: 20, not 20.0",
            ),
            ({"mode": "c"}, "method.mode must be 'a' or 'b', not 'c'"),
            ({"flag": "False"}, "method.flag must be a valid boolean, not 'False'"),
        ],
    )
    def test_a_wrong_value_is_one_line(self, given: dict[str, Any], expected: str) -> None:
        assert error_of(parse_parameters, "method", "x", self.DECLARED, given) == expected

    def test_an_unknown_one_names_the_nearest_and_all(self) -> None:
        message = error_of(parse_parameters, "method", "x", self.DECLARED, {"local-epoch": 1})
        assert "'x' has no parameter 'method.local-epoch'; did you mean 'method.local-epochs'?" in message
        assert "method.mu, method.local-epochs" in message
        assert "(it has: none)" in error_of(parse_parameters, "method", "x", {}, {"mu": 1})

    def test_those_of_a_function_are_keyword_only(self) -> None:
        def build(shape: int, *, hidden: int = 3, rate: float = 0.5) -> None: ...

        assert function_parameters(build) == {"hidden": (int, 3), "rate": (float, 0.5)}


class TestNames:
    def test_nearest(self) -> None:
        assert nearest("fedavgg", ["fedavg", "scaffold"]) == "; did you mean 'fedavg'?"
        assert nearest("zzz", ["fedavg", "scaffold"]) == ""

    def test_unknown_name(self) -> None:
        error = unknown_name("method.name", "moom", ["scaffold", "moon"])
        assert (
            str(error) == "method.name: there is no 'moom'; did you mean 'moon'? (available: moon, scaffold)"
        )

    def test_plugins(self) -> None:
        assert "fedavg" in available_plugins(strategies)
        assert "registry" in available_plugins(clients)
        assert "registry" not in available_plugins(clients, Client)
        assert find_class(strategies.fedavg, FedAvg) is FedAvg
        assert find_class(strategies.fedavg, Client) is None


class TestMethods:
    def test_fedavg_has_the_base_client(self) -> None:
        method = load_method("fedavg", {"weighting": "uniform"})
        assert (method.strategy_class, method.client_class) == (FedAvg, Client)
        strategy = method.make_strategy()
        assert isinstance(strategy, FedAvg)
        assert strategy.weighting == "uniform"
        assert strategy is not method.make_strategy()
        assert load_method("fedavg", {}).make_strategy().weighting == "examples"  # type: ignore[attr-defined]

    def test_constants_of_a_class_are_no_parameters(self) -> None:
        assert "DEFAULTS" not in load_method("moon", {}).client_parameters
        assert "method.DEFAULTS" not in error_of(load_method, "moon", {"temprature": 1.0})

    def test_a_literal_is_checked(self) -> None:
        message = error_of(load_method, "fedavg", {"weighting": "uniformly"})
        assert message == "method.weighting must be 'examples' or 'uniform', not 'uniformly'"

    @pytest.mark.parametrize(
        "name",
        [
            "fedavgg",
            "base",
            "app",
            "hooks",
            "registry",
            "_aggregation",
            "__init__",
            "",
            "os",
            "fedavg.fedavg",
        ],
    )
    def test_unknown_ones_are_refused(self, name: str) -> None:
        message = error_of(load_method, name, {})
        assert message.startswith(f"method.name: there is no '{name}'")
        assert "fedavg" in message.split("available:")[1]

    def test_the_nearest_is_named(self) -> None:
        assert "did you mean 'fedavg'" in error_of(load_method, "fedagv", {})

    def test_every_available_method_loads(self) -> None:
        names = available_methods()
        assert "fedavg" in names
        assert not {"base", "app", "hooks", "registry", "local"} & set(names)
        for name in names:
            assert load_method(name, {}).make_strategy() is not None


SERVER_HALF = """
from typing import Annotated
from pydantic import Field
from strategies.fedavg import FedAvg

class Halves(FedAvg):
    server_lr: Annotated[float, Field(gt=0)] = 1.0
    shared: int = 1
"""
CLIENT_HALF = """
from clients.base import Client

class Halves(Client):
    mu: float = 0.1
    shared: int = 1
"""


class TestAddedFiles:
    @pytest.fixture
    def folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        for package in (strategies, clients):
            folder = tmp_path / package.__name__
            folder.mkdir()
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        before = set(sys.modules)
        yield tmp_path
        for name in set(sys.modules) - before:
            if name.startswith(("strategies.added_", "clients.added_")):
                del sys.modules[name]

    def test_both_halves(self, folders: Path) -> None:
        (folders / "strategies" / "added_both.py").write_text(SERVER_HALF)
        (folders / "clients" / "added_both.py").write_text(CLIENT_HALF)
        assert "added-both" in available_methods()
        method = load_method("added-both", {"server-lr": 0.5, "mu": 2, "shared": 7})
        assert method.strategy_parameters == {"weighting": "examples", "server_lr": 0.5, "shared": 7}
        assert method.client_parameters == {"mu": 2.0, "shared": 7}
        assert method.strategy_class.__module__ == "strategies.added_both"
        assert method.client_class.__module__ == "clients.added_both"
        assert method.make_strategy().server_lr == 0.5  # type: ignore[attr-defined]
        message = error_of(load_method, "added-both", {"server-lr": 0})
        assert message == "method.server-lr must be greater than 0, not 0"
        assert "did you mean 'method.server-lr'" in error_of(load_method, "added-both", {"serverlr": 1.0})
        assert "did you mean 'added-both'" in error_of(load_method, "added-bothh", {})

    def test_only_a_client_half(self, folders: Path) -> None:
        (folders / "clients" / "added_client_only.py").write_text(CLIENT_HALF)
        method = load_method("added-client-only", {})
        assert method.strategy_class is FedAvg
        assert method.client_class.__name__ == "Halves"
        assert method.client_parameters == {"mu": 0.1, "shared": 1}
        assert method.strategy_parameters == {"weighting": "examples"}

    def test_only_a_server_half(self, folders: Path) -> None:
        (folders / "strategies" / "added_server_only.py").write_text(SERVER_HALF)
        method = load_method("added-server-only", {})
        assert method.client_class is Client
        assert method.client_parameters == {}

    def test_an_attribute_without_a_type_is_named(self, folders: Path) -> None:
        (folders / "clients" / "added_untyped.py").write_text(CLIENT_HALF.replace("mu: float", "mu"))
        message = error_of(load_method, "added-untyped", {"mu": 0.5})
        assert message == (
            "'mu = 0.1' of 'added-untyped' is no parameter, as it has no type: write 'mu: float = 0.1'"
        )
        assert load_method("added-untyped", {}).client_parameters == {"shared": 1}

    def test_what_a_method_says_of_keys_is_checked(self, folders: Path) -> None:
        unused = '    UNUSED = {"local.epoch": "which has its own budget"}\n'
        (folders / "strategies" / "added_unused.py").write_text(SERVER_HALF + unused)
        message = error_of(complete, small_config(method__name="added-unused"))
        assert message == "Halves.UNUSED has 'local.epoch', which is no key; did you mean 'local.epochs'?"
        unused = '    UNUSED = {"method.weightin": "which has none"}\n'
        (folders / "strategies" / "added_own.py").write_text(SERVER_HALF + unused)
        message = error_of(complete, small_config(method__name="added-own"))
        assert message == (
            "Halves.UNUSED has 'method.weightin', which is no key; did you mean 'method.weighting'?"
        )

    def test_a_parameter_that_a_method_declares_unused_is_none(self, folders: Path) -> None:
        unused = '    UNUSED = {"method.weighting": "which has none"}\n'
        (folders / "strategies" / "added_less.py").write_text(SERVER_HALF + unused)
        message = error_of(load_method, "added-less", {"weighting": "examples"})
        assert message.startswith(
            "method.weighting = 'examples' would have no effect with method.name 'added"
        )
        assert message.endswith("', which has none: leave it out")
        method = load_method("added-less", {})
        assert "weighting" not in method.declared
        assert method.make_strategy().weighting == "examples"


def test_what_has_no_underscore_is_a_method() -> None:
    assert available_plugins(strategies) == available_plugins(strategies, FedAvg)
    machinery = {"app", "base", "hooks", "registry", "local", "node"}
    assert set(available_plugins(clients)) - machinery == set(available_plugins(clients, Client)) - {"base"}


class TestFactsOfMethods:
    @pytest.mark.parametrize(("start", "expected"), [(0.25, ["rounds was 3 and is 4"]), (0.0, [])])
    def test_distillation_after_a_share_of_the_rounds_depends_on_them(
        self, start: float, expected: list[str]
    ) -> None:
        options: dict[str, Any] = {"method__name": "scalefl", "method__distillation-start": start}
        old, new = (small_config(rounds=rounds, **options) for rounds in (3, 4))
        assert run_differences(old, new) == expected

    def test_the_weight_of_a_proximal_term_is_not_any_mu(self) -> None:
        """MOON's mu weighs a contrastive term, which is no pull towards the global model."""
        weights = {}
        for name in ("fedprox", "heteroprox", "fedasync", "fednova", "moon", "heteromoon", "scaffold"):
            method = load_method(name, {"mu": 0.5} if "mu" in load_method(name, {}).client_parameters else {})
            client = method.client_class.__new__(method.client_class)
            vars(client).update(method.client_parameters)
            weights[name] = client.proximal_weight
        assert weights == {
            **dict.fromkeys(("fedprox", "heteroprox", "fedasync", "fednova"), 0.5),
            **dict.fromkeys(("moon", "heteromoon", "scaffold"), 0.0),
        }

    @pytest.mark.parametrize("name", available_methods())
    def test_examples_are_valid_configurations(self, name: str) -> None:
        example = dict(load_method(name, {}).example)
        config = Config.from_flat(merge({"method.name": name}, example))
        load_method(name, config.method.parameters).make_strategy().check(config)
