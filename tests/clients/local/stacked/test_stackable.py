"""What is known beforehand not to be stackable."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from clients.local.stacked.stackable import (
    NotStackableError,
    check_stackable,
    drawing_nothing,
    is_elementwise,
)
from clients.local.worker import Worker
from tests.clients.jobs import small


def test_what_may_be_stacked() -> None:
    check_stackable(Worker(small()))


def test_recurrent_layers_are_refused() -> None:
    worker = Worker(small())
    worker.model.lstm = nn.LSTM(2, 2)
    with pytest.raises(NotStackableError, match="recurrent layers"):
        check_stackable(worker)


@pytest.mark.parametrize("draw", [random.random, np.random.random, np.random.default_rng])
def test_code_from_outside_may_not_draw(draw: Callable[[], object]) -> None:
    worker = Worker(small())
    worker.runs_outside_code = True
    before = random.getstate()
    with drawing_nothing(worker):
        torch.Generator().manual_seed(1)
    with pytest.raises(NotStackableError, match="code from outside the project"), drawing_nothing(worker):
        draw()
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("name", "expected"), [("sgd", True), ("adamw", True), ("lars", False), ("lamb", False)]
)
def test_optimisers_declare_that_they_step_elements(name: str, expected: bool) -> None:
    assert is_elementwise(small(optimizer__name=name).optimizer) == expected
