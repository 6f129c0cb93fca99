"""What leaves a node: the page is what is recorded, and labels stay where they are to stay."""

import json
from pathlib import Path

import pytest

from analysis.report import write_plots
from clients.app import app
from clients.registry import available_methods
from common.errors import UserError
from common.records import DESCRIBE
from runtimes.describe.traffic import PAGE, page, recorded
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from strategies.fedavg import FedAvg
from tests.conftest import Runner, example_of, small_config


def test_the_page_is_what_replies_hold() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m runtimes.describe.traffic"
    assert all(f"\n| {name} |" in text for name in available_methods())


def test_labels_are_reported_only_if_asked_for() -> None:
    shown, kept = (recorded("fedavg", {"clients.report-labels": value}) for value in (True, False))
    assert shown[DESCRIBE].metrics - kept[DESCRIBE].metrics == {"label-counts"}
    assert shown["train"] == kept["train"]
    assert shown["evaluate"] == kept["evaluate"]


def sha(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_a_run_without_them_ends_with_the_same_model_and_says_which_pictures_need_them(
    run_small: Runner,
) -> None:
    options = {"participation__name": "skewed", "clients__evaluate_fraction": 0.5}
    path = run_small("kept", clients__report_labels=False, **options)
    assert sha(path) == sha(run_small("shown", **options))
    rows = (path / "label_distribution.csv").read_text().splitlines()
    assert rows[0] == "client_id,num_examples"
    assert len(rows) == 7
    with pytest.warns(UserWarning, match="report-labels") as warned:
        pictures = {picture.stem for picture in write_plots(path)}
    assert [str(warning.message).partition(":")[0] for warning in warned] == [
        "there is no picture of label-distribution"
    ]
    assert "participation" in pictures
    assert "label_distribution" not in pictures


@pytest.mark.parametrize(
    "options",
    [
        {"method__name": "creff"},
        {"method__name": "feddisco"},
        {"method__name": "balanced-softmax", "method__prior": "global"},
        {"method__name": "fedrod", "method__head_aggregation": "class-wise"},
        {"method__name": "fedloge", "method__head_aggregation": "class-wise"},
        {"method__name": "heterofl"},
        {"method__name": "fedrolex"},
        {"participation__name": "target"},
    ],
)
def test_what_needs_them_is_refused_before_a_client_is_asked(tmp_path: Path, options: dict[str, str]) -> None:
    class Untouched(SequentialGrid):
        """Carries nothing."""

        def push_messages(self, messages: object) -> list[str]:
            raise AssertionError("a message was sent")

    example = example_of(options["method__name"]) if "method__name" in options else {}
    config = small_config(tmp_path / "run", clients__report_labels=False, **{**example, **options})
    with pytest.raises(UserError, match=r"clients\.report-labels = false") as error:
        run_experiment(config, Untouched(app, config.clients.count, config.flat()), PlainLines())
    assert "\n" not in str(error.value)


def test_a_method_that_asks_for_them_unannounced_is_stopped(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broadcast(self: FedAvg, server_round: int) -> dict[str, object]:
        return {"counts": {"counts": self.label_counts.sum(dim=0)}}

    monkeypatch.setattr(FedAvg, "broadcast", broadcast)
    with pytest.raises(UserError, match=r"clients.report-labels = false .* FedAvg, which asks for them"):
        run_small("run", clients__report_labels=False)
