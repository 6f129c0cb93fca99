"""Queue files."""

from pathlib import Path

import pytest

from common.errors import UserError
from runtimes.queue.__main__ import main
from runtimes.queue.file import GiveUp, read_queue_file
from tests.runtimes.queue.folder import Folder, Output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "entries is missing"),
        ("entries = 3", "entries must be a table"),
        ("entries = {}", "entries must have at least one entry"),
        ("[entries]\na = 3", "entries.a must be a table"),
        ("[entries", "is not valid TOML"),
        ("[entires.a]", "unknown key 'entires'; did you mean 'entries'?"),
        ("[entries.a]\nseed = [1]", "unknown key 'entries.a.seed'; did you mean 'seeds'?"),
        ("[entries.a]\nseeds = [-1]", "entries.a.seeds.0 must be greater than or equal to 0, not -1"),
        ("[entries.a]\npriority = 'high'", "entries.a.priority must be a valid integer, not 'high'"),
        ("[entries.a]\nexperiment = 'x'\nonly = 'iid'", "entries.a.only must be a valid list, not 'iid'"),
        ("[entries.a]\nonly = ['iid']", "set entries.a.experiment"),
        ("[entries.a]\nrounds-scale = 0.5", "set entries.a.set.rounds instead"),
        ("[entries.a]\nset = 3", "entries.a.set must be a table"),
        ("set = 3\n[entries.a]", "set must be a table"),
        ("[entries.a]\nset.rounds = [3]", "rounds must be true or false, a number or a string"),
        ("[entries.a]\nset.rounds = 2026-11-29", "rounds must be true or false, a number or a string"),
        ("[entries.a]\nset.run.resume = true", "run.resume is the queue's own"),
        ("[entries.a]\nset.local.lrr = 1", "entries.a: unknown key 'local.lrr'"),
        ("[entries.a]\nset.rounds = 0", "entries.a: rounds must be greater"),
        ("[entries.a]\nexperiment = 'nowhere.toml'", "entries.a: experiment: cannot read"),
        ("[entries.a]\ncode = 'docs'", "entries.a: code: there is no run_simulation.py"),
        ("[entries.'../a']", "'../a' names a folder"),
        ("nice = 20\n[entries.a]\n", "nice must be less than or equal to 19, not 20"),
        ("checkpoint-minutes = -1.0\n[entries.a]", "checkpoint-minutes must be greater than or equal to 0"),
        ("[entries.a]\ngive-up = true", "entries.a.give-up must be a table"),
        ("[entries.a]\ngive-up = { after = 0.5 }", "entries.a.give-up takes either below"),
        ("[entries.a]\ngive-up = { after = 0.5, below = 1.0, above = 2.0 }", "takes either below"),
        ("[entries.a]\ngive-up = { after = 1.5, below = 0.1 }", "give-up.after must be less than 1, not 1.5"),
        ("[entries.a]\ngive-up = { aftr = 0.5 }", "'entries.a.give-up.aftr'; did you mean 'after'?"),
        (
            "[entries.a]\nexperiment = 'experiments/course/b4-heterogeneity.toml'\nonly = ['j5']",
            "entries.a: --only: no axis has a label 'j5'",
        ),
        (
            "[entries.a]\nexperiment = 'experiments/course/a2-localsgd.toml'\nset.evaluate.every-steps = 0",
            "entries.a: --set evaluate.every-steps: the axis 'workers' sets it ('k2')",
        ),
    ],
)
def test_a_bad_file_is_one_line(text: str, message: str, folder: Folder, capsys: Output) -> None:
    assert main([str(folder.write(text, stand_in=False))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not folder.runs.exists()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        read_queue_file(tmp_path / "nowhere.toml")


def test_a_rule_can_be_switched_off_for_one_entry(folder: Folder) -> None:
    folder.write("give-up = { after = 0.5, below = 0.1 }\n[entries.a]\n[entries.b]\ngive-up = false\n")
    entries = read_queue_file(folder.file).entries
    assert entries["a"].give_up == GiveUp.model_validate({"after": 0.5, "below": 0.1})
    assert entries["b"].give_up is None


def test_the_table_of_states_is_not_cut_where_it_is_no_terminal(
    folder: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "a-name-of-an-entry-" + "that-goes-on-" * 10 + "and-ends"
    assert main([str(folder.write(f"[entries.{name}]")), "--status"]) == 0
    assert any(name in line and "waiting" in line for line in capsys.readouterr().out.splitlines())


def test_an_error_is_one_line_whatever_it_quotes(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder.write("[entries.a]", stand_in=False)
    assert main([str(file), "--retry", "a\x1b[2J\nb"]) == 2
    assert capsys.readouterr().err == (
        "error: --retry: there is no run or entry 'a\\x1b[2J\\nb'; --status lists them\n"
    )
