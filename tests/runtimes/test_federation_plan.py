"""What the command line of a local federation asks for; wrong ones are tested with the command."""

from pathlib import Path

import pytest

from runtimes.federation_plan import read_plan


@pytest.mark.parametrize("clients", [["--supernodes", "2"], ["--set", "clients.count=6"]])
def test_nodes_may_serve_several_clients(clients: list[str], tmp_path: Path) -> None:
    arguments = [*clients, "--set", "resources.clients-per-node=3", "--run-dir", str(tmp_path / "run")]
    plan = read_plan(arguments, "")
    assert (plan.nodes, plan.overrides["clients.count"]) == (2, 6)


def test_paths_are_absolute_and_folders_of_the_users_code_reach_every_process(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "models").mkdir(parents=True)
    plan = read_plan(["--plugins", str(mine), "--data-root", ".", "--run-dir", str(tmp_path / "run")], "")
    assert str(mine) in str(plan.overrides["plugins"]).split(",")
    assert plan.data_root == Path.cwd()
    assert plan.overrides["dataset.root"] == str(Path.cwd())


def test_help_describes_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        read_plan(["--help"], "What it does.")
    assert "What it does." in capsys.readouterr().out
