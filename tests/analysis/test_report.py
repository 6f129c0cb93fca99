"""The table at the end of a run."""

import io
import json

import pytest
from rich.console import Console

from analysis.report import print_summary, write_plots
from common.errors import UserError


def printed(run_dir):
    stream = io.StringIO()
    print_summary(run_dir, Console(file=stream, width=100))
    return stream.getvalue()


def test_summary_tells_what_ran_and_how_it_ended(make_run):
    run_dir = make_run()
    write_plots(run_dir)

    lines = dict(line.split(maxsplit=1) for line in printed(run_dir).replace("model sha", "sha").splitlines())

    assert lines["method"].strip() == "fedavg"
    assert lines["data"].strip() == "digits, dirichlet partition"
    assert lines["clients"].strip() == "4"
    assert lines["rounds"].strip() == "4"
    assert lines["final"].strip() == "test accuracy 60.00%, test loss 0.5000"
    assert lines["best"].strip() == "test accuracy 70.00%, test loss 0.2500, in round 3"
    assert lines["time"].strip() == "150.0 s (2.5 min), 37.5 s per round"
    assert lines["bytes"].strip() == "5.0 kB down, 12.5 kB up"
    assert lines["sha256"].strip() == "0123456789ab"
    assert "plots" in lines


def test_values_that_a_run_does_not_have_are_left_out(make_run):
    run_dir = make_run()
    (run_dir / "summary.json").write_text(json.dumps({"rounds": 4, "final.test_loss": 0.125}))

    assert printed(run_dir).split() == [
        "rounds",
        "4",
        "final",
        "test",
        "loss",
        "0.1250",
        "bytes",
        "5.0",
        "kB",
        "down,",
        "12.5",
        "kB",
        "up",
    ]


def test_unfinished_run(make_run):
    run_dir = make_run()
    (run_dir / "summary.json").unlink()

    with pytest.raises(UserError, match=r"has no summary\.json"):
        printed(run_dir)
