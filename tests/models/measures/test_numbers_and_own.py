from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.errors import UserError
from common.plugins import use_folders
from models.measures.evaluation import evaluate
from models.measures.numbers import evaluate_numbers
from models.measures.own import batch_sums, find_metrics
from models.metrics.top5 import metric as top5
from server.records.client_metrics import summarise_evaluations


class Echo(nn.Module):
    """Predicts its input plus a parameter, which is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_errors_of_numbers(batch_size: int, offset: float) -> None:
    outputs, targets = torch.tensor([[1.0], [2], [4], [8]]), torch.tensor([1.0, 3, 3, 9])
    sums = evaluate_numbers(
        Echo(), outputs + offset, targets + offset, torch.Tensor.float, batch_size, torch.tensor([0, 0, 1, 1])
    )
    whole = evaluate_numbers(Echo(), outputs + offset, targets + offset, torch.Tensor.float, batch_size)
    assert whole.results() == pytest.approx({"loss": 0.75, "mse": 0.75, "mae": 0.75, "r2": 1 - 3 / 36})
    assert sums.results(0) == pytest.approx({"loss": 0.5, "mse": 0.5, "mae": 0.5, "r2": 1 - 1 / 2})
    same = evaluate_numbers(Echo(), outputs, torch.ones(4), torch.Tensor.float, batch_size)
    assert "r2" not in same.results()


def test_errors_of_several_numbers_are_means_over_all_of_them() -> None:
    outputs, targets = torch.zeros(2, 3), torch.tensor([[1.0, 0, 0], [0, 2, 0]])
    results = evaluate_numbers(Echo(), outputs, targets, torch.Tensor.float, 1).results()
    assert results == pytest.approx({"loss": 5 / 6, "mse": 5 / 6, "mae": 0.5, "r2": 1 - 5 / 2.5})


def test_own_metrics_are_added_over_batches() -> None:
    logits, labels = torch.eye(7), torch.tensor([0, 1, 2, 3, 4, 5, 0])
    metrics = {"top5": top5, "margin": lambda outputs, targets: outputs.amax(1) + targets}
    for batch_size in (1, 3, 7):
        own = evaluate(Echo(), logits, labels, torch.Tensor.float, 7, batch_size, metrics=metrics).own
        assert own["margin"] == (pytest.approx(1 + 15 / 7), 7)
        assert own["top5"][1] == 7


def test_clients_means_are_weighted_by_what_they_counted() -> None:
    clients = {
        0: {"num-examples": 1.0, "hits": 1.0, "count-of-hits": 30.0},
        1: {"num-examples": 9.0, "hits": 0.0, "count-of-hits": 10.0},
    }
    assert summarise_evaluations(clients) == {"federated_hits": 0.75}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    (tmp_path / "metrics").mkdir()

    def write(name: str, code: str) -> None:
        (tmp_path / "metrics" / f"{name}.py").write_text(code)
        use_folders(str(tmp_path))

    yield write
    use_folders("")


def test_metrics_are_found_by_name(write: Callable[[str, str], None]) -> None:
    write("my_hits", "def metric(outputs, targets):\n    return 1, 2\n")
    assert list(find_metrics("top5, my-hits")) == ["top5", "my_hits"]
    assert find_metrics("") == {}
    for text, problem in (
        ("nothing", "metrics: there is no 'nothing'"),
        ("top5,top5", "names 'top5' twice"),
        ("operator:add,torch.nn.functional:nowhere", "has no 'nowhere'"),
        ("json:loads.x", "metrics"),
    ):
        with pytest.raises(UserError, match=problem):
            find_metrics(text)


@pytest.mark.parametrize("value", [3.0, torch.zeros(2), (1, 2, 3), (1, -1), None, (1, float("nan"))])
def test_a_metric_that_returns_something_else_is_one_line(value: Any) -> None:
    with pytest.raises(UserError, match="metrics: 'mine'"):
        batch_sums(torch.zeros(3, 2), torch.zeros(3), {"mine": lambda outputs, targets: value})


def test_a_metric_that_fails_is_one_line() -> None:
    with pytest.raises(UserError, match="'mine' failed: ZeroDivisionError: division by zero"):
        batch_sums(torch.zeros(3, 2), torch.zeros(3), {"mine": lambda outputs, targets: 1 / 0})
