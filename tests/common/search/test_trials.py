"""Trials on disk, and the locks of the processes that share them."""

import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.search.trials import Trial, Workers, ranked, read_search, read_trials, trial_path, write_trial


def make_trial(directory: Path, number: int, value: float | None = None, stopped: str = "") -> Trial:
    trial = Trial(number, {"a": number}, trial_path(directory, number), proposed={"a": number, "b": 1})
    trial.path.mkdir(parents=True)
    write_trial(directory, trial)
    if value is not None:
        summary = {"final.validation_accuracy": value, "stopped": stopped}
        (trial.path / "summary.json").write_text(json.dumps(summary))
    return trial


def test_a_trial_is_what_its_run_directory_says(tmp_path: Path) -> None:
    make_trial(tmp_path, 0, 0.5)
    make_trial(tmp_path, 1, 0.9, "pruned: worse")
    make_trial(tmp_path, 2)
    found = read_trials(tmp_path, "validation_accuracy")
    assert [(t.state, t.value, t.values, t.proposed) for t in found] == [
        ("finished", 0.5, {"a": 0}, {"a": 0, "b": 1}),
        ("pruned", 0.9, {"a": 1}, {"a": 1, "b": 1}),
        ("open", None, {"a": 2}, {"a": 2, "b": 1}),
    ]
    assert [trial.number for trial in ranked(found, maximize=True)] == [0]  # what was pruned never wins


def test_of_equal_trials_the_first_wins(tmp_path: Path) -> None:
    trials = [Trial(n, {}, tmp_path, "finished", value) for n, value in enumerate((0.0, 0.3, 0.0, 0.3))]
    assert [trial.number for trial in ranked(trials, maximize=True)] == [1, 3, 0, 2]
    assert [trial.number for trial in ranked(trials, maximize=False)] == [0, 2, 1, 3]


def test_an_objective_that_is_no_number_never_wins(tmp_path: Path) -> None:
    for number, value in enumerate((0.2, float("nan"), 0.5)):
        make_trial(tmp_path, number, value)
    found = read_trials(tmp_path, "validation_accuracy")
    assert (found[1].state, found[1].remark) == ("diverged", "validation_accuracy is nan")
    assert [trial.number for trial in ranked(found, maximize=True)] == [2, 0]


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    trial = make_trial(tmp_path, 0, 0.5)
    with pytest.raises(
        UserError, match="has no 'validation_loss'; its validation metrics are: validation_accuracy"
    ):
        read_trials(tmp_path, "validation_loss")
    for content in ("[]", "{}", '{"values": {}, "proposed": {}, "state": "x", "remark": ""}', "{"):
        trial.path.with_name(f"{trial.name}.json").write_text(content)
        with pytest.raises(UserError, match=trial.name):
            read_trials(tmp_path, "validation_accuracy")
    with pytest.raises(UserError, match=r"is not the directory of a search"):
        read_search(tmp_path)
    (tmp_path / "search.json").write_text('{"keys": 3}')
    with pytest.raises(UserError, match="is damaged"):
        read_search(tmp_path)


def test_each_trial_is_held_by_one_process(tmp_path: Path) -> None:
    trial = make_trial(tmp_path, 0)
    one, other = Workers(tmp_path), Workers(tmp_path)
    assert not one.join()
    assert other.join()
    assert one.hold(trial)
    assert not other.hold(trial)
    one.release(trial)
    assert other.hold(trial)
    one.close()
    other.close()
    last = Workers(tmp_path)
    assert not last.join()  # nobody is left
    last.close()
