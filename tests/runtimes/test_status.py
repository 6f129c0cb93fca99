"""What an operator sees of nodes, from a SuperLink that is made up."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.defaults import PROJECT_ROOT
from common.flower_control import Node
from runtimes import status
from runtimes.sequential import SequentialGrid
from tests.conftest import Runner

NODES = [
    Node(7, "north", "online", "2026-01-02 03:04:05", b"k1"),
    Node(2**63 + 1, "south", "offline", "", b"k2"),
    Node(9, "gone", "unregistered", "", b"k3"),
]


class Machines(SequentialGrid):
    """Nodes that are machines of their own, so that each is asked who it is."""

    alike_nodes = range(0)


class Link:
    """Stands for a SuperLink."""

    def __init__(self, address: str, authority: Path | None) -> None:
        assert address == "127.0.0.1:8000"

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def nodes(self) -> list[Node]:
        return NODES


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "SuperLink", Link)


def test_nodes_and_their_clients_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nodes.csv").write_text(
        'client_id,node_id,num_examples,versions\n0,7,11,"torch 2, NumPy 1"\n1,9223372036854775809,12,\n'
    )
    assert status.main(["--insecure", "--run-dir", str(tmp_path)]) == 1  # one is not online
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == [
        "7",
        "north",
        "online",
        "2026-01-02",
        "03:04:05",
        "0",
        "11",
        "torch",
        "2,",
        "NumPy",
        "1",
    ]
    assert lines[2] == ["9223372036854775809", "south", "offline", "never", "1", "12"]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the folder of the credentials, or --insecure"),
        (["--insecure", "--run-dir", "nowhere"], "--run-dir: cannot read nowhere/nodes.csv"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert status.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_run_of_nodes_says_which_client_each_is(run_small: Runner) -> None:
    rows = status.read_nodes(run_small("run", Machines, rounds=1))
    assert sorted(int(row["client_id"]) for row in rows.values()) == list(range(6))
    assert all("torch" in row["versions"] for row in rows.values())


class TestServices:
    """``deploy/``."""

    FOLDER = PROJECT_ROOT / "deploy"

    @pytest.mark.skipif(not Path("/usr/bin/systemd-analyze").exists(), reason="needs systemd")
    def test_units_are_valid(self, tmp_path: Path) -> None:
        for unit in self.FOLDER.glob("*.service"):
            text = unit.read_text().replace("/opt/flowerbed/.venv/bin/python", sys.executable)
            (tmp_path / unit.name).write_text(text)
        units = ["flowerbed-superlink.service", "flowerbed-node@north.service"]
        command = ["systemd-analyze", "verify", *(str(tmp_path / unit) for unit in units)]
        verified = subprocess.run(command, capture_output=True, text=True, check=False)
        assert verified.returncode == 0, verified.stderr

    def test_commands_of_services_are_ours(self) -> None:
        from runtimes import node, superlink

        compose = yaml.safe_load((self.FOLDER / "compose.yaml").read_text())["services"]
        parsers = {"runtimes.node": node._parser(), "runtimes.superlink": superlink._parser()}
        commands = [service["command"] for service in compose.values()]
        for unit in self.FOLDER.glob("*.service"):
            line = next(text for text in unit.read_text().splitlines() if text.startswith("ExecStart="))
            line = line.replace("${PARTITION_ID}", "0").replace("${NUM_PARTITIONS}", "2")
            commands.append(line.partition("=")[2].split())
        assert len(commands) == 5
        for words in commands:
            parsers[words[2]].parse_args(words[3:])


def test_a_client_whose_node_is_not_listed_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "nodes", lambda self: NODES[:1])
    (tmp_path / "nodes.csv").write_text(
        "client_id,node_id,num_examples,versions\n0,7,11,torch\n1,8,12,torch\n"
    )
    assert status.main(["--insecure"]) == 0
    assert status.main(["--insecure", "--run-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "8",
        "-",
        "unknown",
        "never",
        "1",
        "12",
        "torch",
    ]


def test_no_node_is_no_success(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "nodes", lambda self: [])
    assert status.main(["--insecure"]) == 1
    assert capsys.readouterr().out == "the SuperLink at 127.0.0.1:8000 has no node\n"


def test_clients_of_one_node_are_one_row(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text(
        "client_id,node_id,num_examples,versions\n0,7,11,torch 2\n1,7,12,torch 2\n2,9,5,torch 2\n"
    )
    rows = status.read_nodes(tmp_path)
    assert {node: (row["client_id"], row["num_examples"]) for node, row in rows.items()} == {
        7: ("0-1", "23"),
        9: ("2", "5"),
    }
