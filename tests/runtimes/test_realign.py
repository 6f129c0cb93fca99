import json
from pathlib import Path

import pandas as pd
import pytest

from common.errors import UserError
from runtimes.realign import realign
from tests.conftest import Runner

KEYS = {"method__name": "fedloge", "method__head_steps": 20, "model__name": "mlp"}


def files(run: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and not path.name.startswith("realignment")
    }


def test_a_finished_run_is_realigned_as_during_the_run(run_small: Runner) -> None:
    run = run_small(**KEYS, rounds=2, clients__fraction=0.3, clients__evaluate_fraction=1.0)
    before = files(run)
    assert realign(run) == 0
    assert files(run) == before  # nothing else is written
    table = pd.read_csv(run / "realignment.csv").rename(columns={"num-examples": "num_examples"})
    assert table.groupby("inference").size().to_dict() == dict.fromkeys(("code", "readme", "paper", "log"), 6)
    evaluated = pd.read_csv(run / "evaluations.csv").query("round == 2").set_index("client_id")
    trained = set(pd.read_csv(run / "clients.csv")["client_id"])
    assert len(trained) < 6  # the others predict with the head that they start with
    of_code = table.query("inference == 'code'").set_index("client_id")
    for column in ("personal_accuracy", "personal_unaligned_accuracy", "personal_loss"):
        assert of_code[column].tolist() == pytest.approx(evaluated[column].tolist(), rel=1e-5)
    of_log = table.query("inference == 'log'")
    assert of_log["personal_loss"].tolist() == of_log["personal_unaligned_loss"].tolist()
    assert of_log["personal_loss"].tolist() != of_code["personal_loss"].tolist()
    summary = json.loads((run / "realignment.json").read_text())
    last = pd.read_csv(run / "metrics.csv").iloc[-1]
    for column in ("test_loss", "test_loss_global_head", "test_loss_realigned"):
        assert summary["central"][column] == pytest.approx(last[column], rel=1e-5)
    assert set(summary["clients"]) == {"code", "readme", "paper", "log"}


def test_another_norm_and_one_form(run_small: Runner) -> None:
    run = run_small(**KEYS, rounds=1)
    realign(run, ["method.kappa=1", "method.inference=paper", "method.paper-bias=local"])
    central = json.loads((run / "realignment.json").read_text())["central"]
    assert central["test_loss_realigned"] == central["test_loss_realigned_unit_norm"]
    assert set(pd.read_csv(run / "realignment.csv")["inference"]) == {"paper"}


def test_new_clients_tune_the_realigned_head_on_a_fixed_body(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_small(**KEYS, rounds=1, clients__fraction=1.0)
    before = files(run)
    assert realign(run, ["method.fine-tuning-epochs=1", "method.inference=log"]) == 0
    assert files(run) == before
    assert "fine-tuned" in capsys.readouterr().out
    table = pd.read_csv(run / "realignment.csv")
    assert table["personal_fine_tuned_accuracy"].between(0, 1).all()
    assert (table["personal_fine_tuned_loss"] != table["personal_unaligned_loss"]).all()


def test_what_cannot_be_realigned(run_small: Runner, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        realign(tmp_path / "nothing")
    run = run_small(rounds=1, model__name="mlp")
    with pytest.raises(UserError, match="not runs of 'fedavg'"):
        realign(run)
    with pytest.raises(UserError, match="does not take rounds"):
        realign(run, ["rounds=7"])
