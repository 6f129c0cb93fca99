"""Every example of docs/extending.md runs as it stands there, from a folder outside the project."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from common.defaults import PROJECT_ROOT
from common.plugin_kinds import KINDS
from common.plugins import use_folders
from run_simulation import main
from server.observers import Round

SMALL = {
    "rounds": "2", "clients.count": "6", "clients.fraction": "1.0", "local.epochs": "0", "local.steps": "2",
    "evaluate.every": "2", "partition.name": "iid",
}  # fmt: skip
UNUSED = {"Participation": "clients.fraction"}  # by its example
# Kinds whose examples change nothing but what is written about the run.
WITHOUT_EFFECT_ON_THE_MODEL = {"metrics", "observers", "plots"}


@dataclass(frozen=True)
class Example:
    """A section with files and a command."""

    title: str
    files: dict[str, str]
    arguments: list[str]

    @property
    def folder(self) -> str:
        return next(iter(self.files)).partition("/")[0]

    @property
    def name(self) -> str:
        return Path(next(iter(self.files))).stem

    @property
    def keys(self) -> set[str]:
        return {text.partition("=")[0] for text in self.arguments if "=" in text}


def examples() -> Iterator[Example]:
    text = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        files = dict(re.findall(r"`(\w+/\w+\.py)`:\n\n```python\n(.*?)```", section, flags=re.S))
        command = re.search(r"```sh\npython run_simulation.py (.*?)\n```", section, flags=re.S)
        if files and command:
            yield Example(section.partition("\n")[0], files, shlex.split(command[1]))


EXAMPLES = {example.title: example for example in examples()}


def write(example: Example, parent: Path) -> Path:
    for name, code in example.files.items():
        file = parent / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    return parent / "mine"


def small(example: Example) -> list[str]:
    """Return the keys of a small run that the example does not set."""
    return [
        part
        for key, value in SMALL.items()
        if key not in example.keys and key != UNUSED.get(example.title)
        for part in ("--set", f"{key}={value}")
    ]


def summary(run_directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_directory / "summary.json").read_text())
    return content


@pytest.fixture(scope="module", autouse=True)
def _no_folders_afterwards() -> Iterator[None]:
    yield
    use_folders("")


@pytest.fixture(scope="module")
def plain_hash(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of the same run without a plug-in."""
    path = tmp_path_factory.mktemp("plain") / "run"
    pairs = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    assert main([*pairs, "--run-dir", str(path)]) == 0
    return str(summary(path)["model_sha256"])


def test_every_kind_has_an_example() -> None:
    shown = {example.folder for example in EXAMPLES.values()}
    assert {kind.folder for kind in KINDS} <= shown


def test_every_function_is_named_with_its_arguments() -> None:
    text = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    signatures = [kind.signature for kind in KINDS if kind.takes]
    assert "build(input_shape, num_classes)" in signatures
    assert [signature for signature in signatures if f"`{signature}`" not in text] == []


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example(
    title: str,
    plain_hash: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    example = EXAMPLES[title]
    if example.folder != "plots":
        request.getfixturevalue("no_pictures")
    assert max(len(code.splitlines()) for code in example.files.values()) <= 40
    write(example, tmp_path)
    monkeypatch.chdir(tmp_path)  # the folder is given as the document gives it: relative
    assert main([*small(example), *example.arguments, "--run-dir", "run"]) == 0
    result = summary(tmp_path / "run")
    assert result["rounds"] == 2
    assert result["config"]["plugins"] == str(tmp_path / "mine")
    if example.folder not in WITHOUT_EFFECT_ON_THE_MODEL:
        assert result["model_sha256"] != plain_hash
    if "aggregate_evaluate" in "".join(example.files.values()):
        assert "federated_accuracy_range" in (tmp_path / "run" / "metrics.csv").read_text()
    if example.folder == "metrics":
        assert 0 <= result["final.test_sure"] <= 1
    if example.folder == "observers":
        assert example.name in (tmp_path / "run" / "metrics.csv").read_text().partition("\n")[0]
    if example.folder == "plots":
        assert (tmp_path / "run" / "plots" / f"{example.name}.png").is_file()


def test_the_test_of_a_method(tmp_path: Path) -> None:
    text = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = text.partition("\n## Testing a method\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.S)
    use_folders(str(write(EXAMPLES["Method, the client's half"], tmp_path)))
    names: dict[str, Any] = {}
    exec(code, names)
    names["test_one_step_of_sign_pull"]()


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_wrong_parameter_of_an_example_is_one_line(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = EXAMPLES[title]
    kinds = {kind.key.partition(".")[0] for kind in KINDS if "." in kind.key}
    sections = {key.partition(".")[0] for key in example.keys} & kinds
    write(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    for section in sections:
        wrong = ["--set", f"{section}.no-such-parameter=1"]
        assert main([*small(example), *example.arguments, *wrong, "--run-dir", "run"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"no parameter '{section}.no-such-parameter'" in error


# All of them in one run, for the tests of Ray and of gRPC: whatever these have to bring to other processes is
# here. The model's dropout is torch's own, which draws from no generator of ours.
TOGETHER = (
    "Method, the client's half", "Participation", "Partition", "Model", "Loss", "Optimiser", "Schedule",
    "Augmentation",
)  # fmt: skip


def together(parent: Path) -> list[str]:
    """Write many examples into one folder and return the keys that choose them."""
    pairs = dict(SMALL)
    for title in TOGETHER:
        write(EXAMPLES[title], parent)
        pairs |= dict(text.split("=", 1) for text in EXAMPLES[title].arguments if "=" in text)
        pairs.pop(UNUSED.get(title, ""), None)
    pairs |= {"local.steps": "2", "clients.count": "2"}
    return [part for key, value in pairs.items() for part in ("--set", f"{key}={value}")]


def test_what_observers_see_is_there() -> None:
    text = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    table = text.partition("| of `current` |")[2].partition("\n\n")[0]
    named = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", table, flags=re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named >= {"number", "metrics", "row"}
    assert named <= {field.name for field in fields(Round)}
