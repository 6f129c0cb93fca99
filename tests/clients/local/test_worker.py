"""What a worker's model has and what of it travels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.local.worker import Worker
from models import architectures
from tests.conftest import Runner, small_config

WITH_TABLE = """
import math
import torch
from models.architectures.linear import LinearModel

class WithTable(LinearModel):
    def __init__(self, input_shape, num_classes):
        super().__init__(math.prod(input_shape), num_classes)
        self.register_buffer("table", torch.ones(3), persistent=False)
        self.register_buffer("index", torch.arange(3))

def build(input_shape, num_classes):
    return WithTable(input_shape, num_classes)
"""


@pytest.fixture
def model_with_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "with_table.py").write_text(WITH_TABLE)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    yield "with-table"
    sys.modules.pop("models.architectures.with_table", None)


def test_tables_that_a_model_does_not_save_do_not_travel(model_with_table: str, run_small: Runner) -> None:
    assert list(Worker(small_config(model__name=model_with_table)).buffers) == ["index"]
    run_small(model__name=model_with_table, rounds=1)
