from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from common.errors import UserError
from models import build_model
from tests.conftest import Runner

SHAPE = (1, 8, 8)


def written(path: Path, **parameters: object) -> str:
    save_file(build_model("mlp", SHAPE, 10, parameters, seed=5).state_dict(), path)
    return str(path)


def test_a_model_begins_with_the_weights_of_a_run(tmp_path: Path) -> None:
    file = written(tmp_path / "model.safetensors")
    model = build_model("mlp", SHAPE, 10, {"weights": file}, seed=1)
    expected = build_model("mlp", SHAPE, 10, seed=5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden": 5}, r"'\S+' is \(64, 64\) there and \(5, 64\) in the model"),
        ({"projection": 64}, "it lacks 'projection"),
    ],
)
def test_a_misfit_is_named(tmp_path: Path, parameters: dict[str, object], message: str) -> None:
    file = written(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"does not fit model 'mlp': {message}"):
        build_model("mlp", SHAPE, 10, {"weights": file, **parameters})


def test_entries_that_the_model_lacks_are_named(tmp_path: Path) -> None:
    file = written(tmp_path / "model.safetensors", projection=64)
    with pytest.raises(UserError, match="does not fit model 'mlp': the model has no 'projection"):
        build_model("mlp", SHAPE, 10, {"weights": file})


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no file 'nowhere\.safetensors'"):
        build_model("mlp", SHAPE, 10, {"weights": "nowhere.safetensors"})


def test_a_run_goes_on_from_the_model_of_another(run_small: Runner) -> None:
    keys = {"rounds": 1, "model__name": "linear"}
    first = run_small("first", **keys)
    second = run_small("second", model__weights=str(first / "model.safetensors"), **keys)
    last, initial = (pd.read_csv(path / "metrics.csv")["test_loss"] for path in (first, second))
    assert last[1] == initial[0]
