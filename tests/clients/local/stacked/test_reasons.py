"""What is known beforehand not to be stackable."""

import pytest
from torch import nn

from clients.local.stacked.reasons import NotStackableError, check_stackable, is_elementwise
from clients.local.worker import Worker
from tests.clients.jobs import small


def test_what_may_be_stacked() -> None:
    check_stackable(Worker(small()))


def test_recurrent_layers_are_refused() -> None:
    worker = Worker(small())
    worker.model.lstm = nn.LSTM(2, 2)
    with pytest.raises(NotStackableError, match="recurrent layers"):
        check_stackable(worker)


def test_code_from_outside_is_refused() -> None:
    worker = Worker(small())
    worker.runs_outside_code = True
    with pytest.raises(NotStackableError, match="code from outside the project"):
        check_stackable(worker)


@pytest.mark.parametrize(
    ("name", "expected"), [("sgd", True), ("adamw", True), ("lars", False), ("lamb", False)]
)
def test_optimisers_declare_that_they_step_elements(name: str, expected: bool) -> None:
    assert is_elementwise(small(optimizer__name=name).optimizer) == expected
