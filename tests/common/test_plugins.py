import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from clients.base import Client
from clients.registry import available_methods, load_method
from common import plugins
from common.errors import UserError
from common.parameters import parse_parameters
from common.plugin_kinds import KINDS, MODEL, PARTICIPATION, PARTITION, Kind
from common.plugin_modules import values_of_modules
from common.plugins import all_folders, find, find_function, find_subclass, folders, names, use_folders
from common.sections import Value
from server.participation._scheme import ParticipationScheme
from strategies.fedavg import FedAvg

PARTITION_CODE = "def partition(targets, num_clients, generator, *, share: float = 0.5):\n    return {}\n"

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("FLOWERBED_PLUGINS", raising=False)
    yield
    use_folders("")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of a plug-in folder, which is used from now on; return the folder."""

    def write(path: str, text: str, folder: str = "mine") -> Path:
        file = tmp_path / folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        use_folders(",".join(map(str, [*dict.fromkeys([*folders(), tmp_path / folder])])))
        return tmp_path / folder

    return write


def message(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestNames:
    def test_those_of_the_project_are_files(self) -> None:
        assert {"iid", "dirichlet", "fed-lt", "hetero-fixed"} <= set(names(PARTITION))
        assert not any(name.startswith("-") for name in names(PARTITION))

    def test_listing_imports_no_plug_in(self, write: Write) -> None:
        write("partitions/mine.py", "raise RuntimeError('imported')")
        assert "mine" in names(PARTITION)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
    def test_every_kind_has_a_folder_of_the_project(self, kind: Kind) -> None:
        assert names(kind)

    @pytest.mark.parametrize(
        ("classes", "expected"),
        [
            ("A(Client), Z(A)", "Z"),  # what the file's own classes derive from is a helper
            ("A(Client), MyPull(A), Z(MyPull)", "MyPull"),
            ("A(Client), B(Client)", "several subclasses of Client (A, B): call the one that is meant"),
        ],
    )
    def test_of_several_classes_in_a_file(self, classes: str, expected: str, write: Write) -> None:
        lines = [f"class {text.strip()}: pass" for text in classes.split(",")]
        write("clients/my_pull.py", "\n".join(["from clients.base import Client", *lines]))
        if expected.isidentifier():
            assert load_method("my-pull", {}).client_class.__name__ == expected
        else:
            assert expected in message(load_method, "my-pull", {})

    def test_a_missing_one_says_what_there_is(self, write: Write) -> None:
        write("partitions/my_split.py", PARTITION_CODE)
        error = message(find_function, PARTITION, "my-splitt")
        assert "there is no 'my-splitt'; did you mean 'my-split'?" in error
        assert "dirichlet" in error

    def test_a_folder_that_a_node_lacks_is_named(self, tmp_path: Path) -> None:
        use_folders(str(tmp_path / "gone"))
        assert f"this machine has no {tmp_path / 'gone'}" in message(find_function, MODEL, "my-net")

    @pytest.mark.parametrize("name", ["", "_dealing", "../iid", "iid.py", "partitions.iid", "__init__"])
    def test_what_is_no_name(self, name: str) -> None:
        assert "there is no" in message(find_function, PARTITION, name)


@pytest.mark.parametrize(
    ("section", "name", "inherited", "own"),
    [
        ("optimizer", "momentum", 0.0, 0.9),
        ("partition", "alpha", 0.5, 0.1),
        ("clock", "spread", 0.0, 1.0),
        ("model", "norm", "batch", "group"),
    ],
)
def test_a_default_that_one_of_every_run_would_replace_is_refused(
    section: str, name: str, inherited: Value, own: Value
) -> None:
    kind = type(inherited)
    assert parse_parameters(section, "mine", {name: (kind, inherited)}, {name: own}) == {name: own}
    assert parse_parameters(section, "mine", {f"own_{name}": (kind, own)}, {}) == {f"own_{name}": own}
    with pytest.raises(UserError, match=rf"'mine' declares {section}\.{name} with the default .*otherwise"):
        parse_parameters(section, "mine", {name: (kind, own)}, {})


class TestFolders:
    def test_function(self, write: Write) -> None:
        write("partitions/my_split.py", PARTITION_CODE)
        assert find_function(PARTITION, "my-split")([], 2, None) == {}
        assert find_function(PARTITION, "my_split") is find_function(PARTITION, "my-split")

    def test_a_file_may_be_spelled_with_dashes(self, write: Write) -> None:
        folder = write("partitions/my-split.py", PARTITION_CODE)
        for name in ("my-split", "my_split"):
            assert find_function(PARTITION, name)([], 2, None) == {}
        write("partitions/my_split.py", PARTITION_CODE)
        assert f"'my-split' in {folder} and in {folder}: rename" in message(find, PARTITION, "my-split")

    def test_subclass(self, write: Write) -> None:
        write(
            "participation/mine.py",
            "from server.participation._scheme import ParticipationScheme\nclass A(ParticipationScheme):\n"
            "    def select(self, selection): ...",
        )
        assert issubclass(find_subclass(PARTICIPATION, "mine", ParticipationScheme), ParticipationScheme)

    def test_environment_adds_to_the_key(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, two = write("models/one.py", ""), write("models/two.py", "", "other")
        use_folders(str(one))
        monkeypatch.setenv("FLOWERBED_PLUGINS", f"{two}:{one}")
        assert folders() == [one, two]
        assert all_folders(str(one)) == f"{one},{two}"

    def test_relative_ones_are_resolved(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write("models/one.py", "")
        monkeypatch.chdir(folder.parent)
        assert all_folders("mine, ./mine/") == str(folder)

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        assert f"there is no folder {tmp_path}/x" in message(all_folders, f"{tmp_path}/x")
        (tmp_path / "x").write_text("")
        assert f"there is no folder {tmp_path}/x" in message(all_folders, f"{tmp_path}/x")

    def test_one_without_plug_ins(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        error = message(all_folders, str(tmp_path))
        assert "has none of the folders" in error
        assert "did you mean 'models'?" in error

    def test_a_name_that_exists_twice(self, write: Write) -> None:
        folder = write("partitions/iid.py", PARTITION_CODE)
        assert message(find, PARTITION, "iid") == (
            f"partition.name: there is a partition 'iid' in the project's partitions/ and in {folder}:"
            " rename one of them"
        )
        one, two = write("models/x.py", "", "one"), write("models/x/__init__.py", "", "two")
        assert f"in {one} and in {two}" in message(find, MODEL, "x")

    def test_a_module_that_does_not_define_it(self, write: Write) -> None:
        folder = write("partitions/empty.py", "x = 1")
        assert message(find_function, PARTITION, "empty") == (
            f"partition.name: {folder}/partitions/empty.py defines no function 'partition': it must define"
            " partition(targets, num_clients, generator), see docs/extending.md"
        )
        write("models/my_net.py", "class MyNet: pass")
        assert "it must define build(input_shape, num_classes), see" in message(
            find_function, MODEL, "my-net"
        )
        write("participation/empty.py", "x = 1")
        assert "empty.py defines no subclass of ParticipationScheme" in message(
            find_subclass, PARTICIPATION, "empty", ParticipationScheme
        )


class TestImports:
    @pytest.mark.parametrize(
        ("code", "line", "error"),
        [
            ("x = 1\n\nx.missing\n", 3, "AttributeError: 'int' object has no attribute 'missing'"),
            ("import os\ndef f(:\n", 2, "SyntaxError: invalid syntax"),
            ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
            ("\nimport sys; sys.exit('a\\nb')\n", 2, "SystemExit: a b"),
        ],
    )
    def test_a_failure_is_one_line(self, write: Write, code: str, line: int, error: str) -> None:
        folder = write("partitions/bad.py", code)
        text = message(find, PARTITION, "bad")
        assert f"importing {folder}/partitions/bad.py, line {line}, failed: {error}" in text

    def test_the_line_is_that_of_the_neighbour_at_fault(self, write: Write) -> None:
        folder = write("partitions/_helper.py", "\n1 / 0\n")
        write("partitions/mine.py", "from ._helper import x\n")
        assert f"{folder}/partitions/_helper.py, line 2, failed: ZeroDivisionError" in message(
            find, PARTITION, "mine"
        )

    def test_nothing_is_shadowed(self, write: Write) -> None:
        write("datasets/dataset.py", "ours = False")
        write(
            "models/json.py",
            "import json\nfrom datasets.dataset import Dataset\nbuild = lambda shape, classes: json",
        )
        import json

        assert find_function(MODEL, "json")(1, 2) is json
        assert sys.modules["json"] is json

    def test_neighbours_are_imported(self, write: Write) -> None:
        write("common_bits.py", "a = 1")
        write("models/_part.py", "b = 2")
        write("partitions/part.py", "import _own\nc = _own.value\nx = 3")
        write("partitions/_own.py", "value = 4")
        code = (
            "import common_bits\nfrom _part import b\nfrom ..partitions.part import c\n"
            "from partitions.part import x\nimport partitions.part\n"
            "def build(*given):\n    from common_bits import a\n    return a, b, c, x, partitions.part.x"
        )
        # ``import partitions.part`` binds the folder's own package.
        write("models/mine.py", code)
        assert find_function(MODEL, "mine")(1, 2) == (1, 2, 4, 3, 3)

    def test_two_folders_may_have_helpers_of_one_name(self, write: Write) -> None:
        for folder, value in (("one", 1), ("two", 2)):
            write("models/_helper.py", f"value = {value}", folder)
            write(
                f"models/net_{folder}.py",
                "from _helper import value\ndef build(*given): return value",
                folder,
            )
        assert find_function(MODEL, "net-one")(1, 2) == 1
        assert find_function(MODEL, "net-two")(1, 2) == 2

    def test_a_neighbour_of_nobody_else(self, write: Write) -> None:
        write("models/_lonely.py", "")
        with pytest.raises(ModuleNotFoundError):
            import _lonely  # type: ignore[import-not-found]  # noqa: F401


class TestObjects:
    def test_of_a_module_on_the_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_package_f.py").write_text(f"class Inside:\n  @staticmethod\n  {PARTITION_CODE}")
        monkeypatch.syspath_prepend(tmp_path)
        assert find_function(PARTITION, "my_package_f:Inside.partition")([], 1, None) == {}
        error = message(find_function, PARTITION, "my_package_f:Insid")
        assert "has no 'Insid'; did you mean 'Inside'?" in error

    def test_of_a_module_of_a_folder(self, write: Write) -> None:
        write("partitions/several.py", PARTITION_CODE.replace("partition(", "other("))
        assert find_function(PARTITION, "partitions.several:other")([], 1, None) == {}

    def test_a_module_that_is_missing(self) -> None:
        error = message(find, PARTITION, "no_package.no_module:x")
        assert "there is no module 'no_package.no_module' on this machine" in error

    @pytest.mark.parametrize("name", ["a:", ":b", "a b:c", "a:b:c", "a/b:c"])
    def test_no_path_to_an_object(self, name: str) -> None:
        assert "must be a name or package.module:name" in message(find, PARTITION, name)

    def test_something_else(self) -> None:
        assert "defines no function" in message(find_function, PARTITION, "math:pi")
        assert "defines no subclass of ParticipationScheme" in message(
            find_subclass, PARTICIPATION, "math:pi", ParticipationScheme
        )


def test_modules_of_the_project_are_not_looked_through() -> None:
    before = len(values_of_modules())
    assert find(PARTITION, "quantity") is not None
    assert len(values_of_modules()) == before


class TestEntryPoints:
    @pytest.fixture
    def _points(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = (
            EntryPoint("my-net", "tests.common.test_plugins:PARTITION_CODE", "flowerbed.models"),
            EntryPoint("broken", "no_such_package.x:y", "flowerbed.models"),
        )
        monkeypatch.setattr(plugins, "_points", lambda kind: points if kind is MODEL else ())

    @pytest.mark.usefixtures("_points")
    def test_they_are_found(self, write: Write) -> None:
        assert "my-net" in names(MODEL)
        found = find(MODEL, "my_net")
        assert found is not None
        assert found.thing == PARTITION_CODE
        assert any(value is PARTITION_CODE for value in values_of_modules())  # and generators are seeded
        assert "importing 'broken' of package no_such_package.x failed" in message(find, MODEL, "broken")
        write("models/my_net.py", "")
        assert "rename one of them" in message(find, MODEL, "my-net")


class TestMethods:
    CLIENT = "from clients.base import Client\nclass Mine(Client):\n    pull: float = 0.5\n"
    SERVER = "from strategies.fedavg import FedAvg\nclass Mine(FedAvg):\n    push: float = 0.25\n"

    def test_either_half_or_both(self, write: Write) -> None:
        write("clients/my_client.py", self.CLIENT)
        write("strategies/my_server.py", self.SERVER)
        write("clients/my_method.py", self.CLIENT)
        write("strategies/my_method.py", self.SERVER)
        assert load_method("my-client", {"pull": 1.0}).strategy_class is FedAvg
        assert load_method("my-server", {"push": 1.0}).client_class is Client
        both = load_method("my-method", {"pull": 2.0, "push": 3.0})
        assert both.client_parameters["pull"], both.strategy_parameters["push"] == (2.0, 3.0)
        assert {"my-client", "my-method", "my-server", "moon"} <= set(available_methods())

    def test_halves_come_from_one_place(self, write: Write) -> None:
        folder = write("strategies/fedprox.py", self.SERVER)
        error = message(load_method, "fedprox", {})
        assert f"a method 'fedprox' in {folder} and in the project" in error

    def test_a_file_without_a_half(self, write: Write) -> None:
        write("clients/my_method.py", "class Mine: ...")
        assert "my_method.py defines no subclass of Client" in message(load_method, "my-method", {})

    def test_an_object_names_one_half_and_its_module_has_the_other(self, write: Write) -> None:
        write("clients/pair.py", self.CLIENT + self.SERVER.replace("Mine", "Server"))
        for name in ("Mine", "Server"):
            method = load_method(f"clients.pair:{name}", {"pull": 1.0, "push": 1.0})
            assert (method.client_class.__name__, method.strategy_class.__name__) == ("Mine", "Server")
        assert "is not a subclass of FedAvg nor of Client" in message(load_method, "math:pi", {})

    def test_another_folder_is_another_method(self, write: Write) -> None:
        write("clients/my_method.py", self.CLIENT, "one")
        one = load_method("my-method", {}).client_class
        use_folders("")
        write("clients/my_method.py", self.CLIENT, "two")
        assert load_method("my-method", {}).client_class is not one

    def test_equal_values_of_other_types_are_not_mixed_up(self) -> None:
        assert (
            load_method("fedavgm", {"nesterov": False, "beta": 0.5}).strategy_parameters["nesterov"] is False
        )
        assert "method.nesterov must be a valid boolean, not 0" in message(
            load_method, "fedavgm", {"nesterov": 0, "beta": 0.5}
        )
