from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


def plain() -> dict[str, torch.Tensor]:
    return dict(build_model("mlp", SHAPE, 10, {}, seed=5).state_dict())


def first(state: dict[str, torch.Tensor]) -> str:
    return next(iter(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: torch.full_like(value, float("nan")), "has values that are not finite"),
        (lambda value: value.to(torch.int8), r"is torch\.int8 there and torch\.float32 in the model"),
        (lambda value: value.to(torch.complex64), "is not a plain tensor of numbers"),
        (lambda value: value.to_sparse(), "is not a plain tensor of numbers"),
        (lambda value: value.to("meta"), "is not a plain tensor of numbers"),
        (lambda value: value.to(torch.float8_e4m3fn), "is not a plain tensor of numbers"),
    ],
)
def test_tensors_that_no_model_begins_with(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    state = plain()
    state[first(state)] = change(state[first(state)])
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match=message) as raised:
        build_model("mlp", SHAPE, 10, {"weights": str(tmp_path / "x.pt")})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in plain().items()}
    torch.save(state, tmp_path / "x.pt")
    model = build_model("mlp", SHAPE, 10, {"weights": str(tmp_path / "x.pt")})
    assert all(torch.equal(value, state[name].float()) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "content", [{4: torch.ones(1)}, [1], 5, {"model": {"a": 3}}, {"state_dict": {}}, None]
)
def test_other_content(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"model\.weights: .*(cannot be read as weights|lacks)") as raised:
        build_model("mlp", SHAPE, 10, {"weights": str(tmp_path / "x.pt")})
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("weights")
    save_file(plain(), folder / "x.safetensors")
    torch.save(plain(), folder / "x.pt")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=80)
@given(data=st.data())
def test_a_damaged_file_is_weights_or_one_line(
    whole_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(whole_files)))
    content = bytearray(whole_files[name])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content) - 1, 4000)))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content[: len(content) - data.draw(st.integers(0, 3000))])
    try:
        build_model("mlp", SHAPE, 10, {"weights": str(path)})
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
