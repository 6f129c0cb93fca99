import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from common.defaults import PROJECT_ROOT
from common.errors import UserError
from datasets import Dataset, load_dataset

TRAIN = "a,colour,n,y\n1,red,1,yes\n,blue,2,no\n3,,3,no\n5,red,?,yes\n"
TEST = "y,n,colour,a\nno,2,violet,3\n"


def table(root: Path, train: str | bytes = TRAIN, test: str = TEST, **parameters: str) -> Dataset:
    (root / "train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
    (root / "test.csv").write_text(test)
    return load_dataset("csv", root=root, normalization="none", parameters=dict(parameters))


def test_numbers_categories_missing_and_unknown_values(tmp_path: Path) -> None:
    data = table(tmp_path)
    assert (data.class_names, data.train.targets.tolist()) == (("no", "yes"), [1, 0, 0, 1])
    assert data.train.inputs.tolist() == [  # a, colour: "", blue, red, n
        [1, 0, 0, 1, 1],
        [3, 0, 1, 0, 2],  # the mean of 1, 3 and 5
        [3, 1, 0, 0, 3],
        [5, 0, 0, 1, 2],
    ]
    assert data.test.inputs.tolist() == [[3, 0, 0, 0, 2]]
    assert data.remarks == (
        "the target is 'y'",
        "2 columns of numbers and 1 of categories make 5 inputs",
    )


def test_columns_that_the_configuration_names(tmp_path: Path) -> None:
    both = "id,k,site,out\n0,1,7,0.5\n1,2,7,1\n2,1,8,2\n"
    data = table(tmp_path, both, both, drop="id", categorical="k", client="site", label="out")
    assert data.is_regression
    assert data.train.inputs.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert data.client_names == ("7", "8")
    classes = table(tmp_path, both, both, task="classification", label="k", classes="1,2,9")
    assert (classes.num_classes, classes.train.targets.tolist()) == (3, [0, 1, 0])


def test_a_column_that_is_left_out_is_not_the_label(tmp_path: Path) -> None:
    both = "a,target,label\n1,x,7\n2,y,8\n"
    assert table(tmp_path, both, both, drop="label").class_names == ("x", "y")
    with pytest.raises(
        UserError, match=r"dataset\.label = 'label' is a column that dataset\.drop leaves out"
    ):
        table(tmp_path, both, both, drop="label", label="label")


@pytest.mark.parametrize("name", ["label", "site", "b"])
def test_categories_are_of_inputs(name: str, tmp_path: Path) -> None:
    both = "a,b,site,label\n1,2,p,7\n2,3,q,8\n"
    with pytest.raises(UserError, match=rf"dataset\.categorical names '{name}', which is not an input"):
        table(tmp_path, both, both, client="site", drop="b", categorical=name)


def test_a_byte_order_mark_quotes_and_empty_lines(tmp_path: Path) -> None:
    text = '﻿a,label\r\n"1",x\r\n\r\n"2","y, z"\r\n'
    assert table(tmp_path, text, "a,label\n1,x\n").class_names == ("x", "y, z")


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_without_a_test_file_the_line_says_what_to_set(name: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TRAIN)
    np.savez(tmp_path / "train.npz", inputs=np.zeros((4, 2), np.float32), targets=np.arange(4))
    with pytest.raises(UserError, match=rf"there is no .*test\.{name}: .* set dataset.test-fraction"):
        load_dataset(name, root=tmp_path, normalization="none", parameters={})


@pytest.mark.parametrize(
    ("train", "test", "parameters", "text"),
    [
        (b"a,y\n\xff,1\n", TEST, {}, "UTF-8"),
        ("a,y\n", TEST, {}, "at least one row"),
        ("a,a,y\n1,2,3\n", TEST, {}, "two columns are called 'a'"),
        ("a,y\n1,2\n1\n", TEST, {}, "train.csv, line 3: 1 fields instead of 2"),
        ("a;y\n1,5;2\n", TEST, {}, "train.csv are separated by ';': dataset.delimiter="),
        ("a\ty\n1\t2\n", TEST, {}, r"train.csv are separated by '\t': dataset.delimiter="),
        ("a,y\n1,2\n", TEST, {"delimiter": ";"}, "train.csv are separated by ',': dataset.delimiter="),
        ("a,y\n1,\n", TEST, {}, "line 2: the column 'y' is empty"),
        ("a,b,y\n,1,1\n", "a,b,y\n,1,1\n", {}, "the column 'a' has no value"),
        ("y\n1\n", TEST, {}, "no column of inputs"),
        ("a,y\n1,2\n", "b,y\n1,2\n", {}, "test.csv has no column 'a'"),
        ("a,y\n1,2\n", "a,y\nx,2\n", {}, "test.csv, line 2: 'x' in the column 'a' is not a finite number"),
        (
            "a,y\n" + "1,2\n" * 20 + "l,2\n",
            TEST,
            {},
            "train.csv, line 22: 'l' in the column 'a' is not a finite",
        ),
        (
            "a,y\n1e999,2\n1,2\n",
            TEST,
            {},
            "train.csv, line 2: '1e999' in the column 'a' is not a finite number",
        ),
        (TRAIN, TEST, {"label": "z"}, "dataset.label: "),
        (TRAIN, TEST, {"delimiter": ";;"}, "one character"),
        (TRAIN, TEST, {"task": "regression"}, "not numbers"),
    ],
)
def test_bad_tables_are_one_line(
    train: str | bytes, test: str, parameters: dict[str, str], text: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        table(tmp_path, train, test, **parameters)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npz_with_clients_and_a_validation_part(tmp_path: Path) -> None:
    for part, size in (("train", 6), ("test", 2), ("validation", 1)):
        inputs = np.arange(size * 4, dtype=np.float32).reshape(size, 4)
        np.savez(
            tmp_path / f"{part}.npz", inputs=inputs, targets=np.arange(size) % 2, clients=np.zeros(size, int)
        )
    data = load_dataset("npz", root=tmp_path)
    assert (data.kind, data.input_shape, data.num_classes) == ("features", (4,), 2)
    assert data.validation is not None
    assert data.client_names == ("0",)
    torch.testing.assert_close(data.train.inputs.mean(0), torch.zeros(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_a_file_as_root_is_answered_with_what_is_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"train.{name}"
    file.write_text(TRAIN)
    with pytest.raises(
        UserError, match=rf"there is no .*: dataset '{name}' reads train.{name} and test.{name} in"
    ):
        load_dataset(name, root=file)


def test_bad_npz_files_are_one_line(tmp_path: Path) -> None:
    def problem() -> str:
        with pytest.raises(UserError) as caught:
            load_dataset("npz", root=tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no" in problem()
    (tmp_path / "train.npz").write_bytes(b"PK\x03\x04 cut short")
    assert "cannot read" in problem()
    np.savez(tmp_path / "train.npz", x=np.eye(2))
    assert "has no array 'inputs' (it has: x)" in problem()
    np.savez(tmp_path / "train.npz", inputs=np.array([{}, {}]), targets=np.zeros(2))
    assert "pickled" in problem()
    np.save(tmp_path / "train", np.eye(2))
    (tmp_path / "train.npy").rename(tmp_path / "train.npz")
    assert "single array" in problem()
    (tmp_path / "train.npz").unlink()
    os.mkfifo(tmp_path / "train.npz")
    assert problem() == f"cannot read {tmp_path / 'train.npz'}: it is a pipe, not a file"


def test_types_that_torch_does_not_have(tmp_path: Path) -> None:
    inputs = np.arange(8.0).reshape(4, 2)
    for kind in (np.longdouble, np.float16, np.uint32, ">f4"):
        for part in ("train", "test"):
            np.savez(tmp_path / f"{part}.npz", inputs=inputs.astype(kind), targets=np.arange(4) % 2)
        data = load_dataset("npz", root=tmp_path, normalization="none")
        assert data.train.inputs.tolist() == inputs.tolist()


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_a_share_of_the_training_set_is_the_test_set(tmp_path: Path, name: str) -> None:
    rows = [(number, number % 3) for number in range(30)]
    if name == "csv":
        lines = "".join(f"{value},{label}\n" for value, label in rows)
        (tmp_path / "train.csv").write_text(f"a,y\n{lines}")
    else:
        inputs, targets = np.array(rows).T
        np.savez(tmp_path / "train.npz", inputs=inputs[:, None].astype(float), targets=targets)

    def load(seed: int = 0, fraction: float = 0.3) -> Dataset:
        return load_dataset(name, root=tmp_path, seed=seed, parameters={"test-fraction": fraction})

    data = load()
    assert data.test.targets.bincount().tolist() == [3, 3, 3]
    whole = torch.cat([data.train.inputs, data.test.inputs])
    assert len(set(whole.flatten().tolist())) == 30
    assert data.train.inputs.mean().item() == pytest.approx(0, abs=1e-6)  # statistics of what is left
    assert "9 of 30 samples are the test set (dataset.test-fraction)" in data.remarks
    assert torch.equal(load().test.inputs, data.test.inputs)
    assert not torch.equal(load(seed=1).test.inputs, data.test.inputs)
    with pytest.raises(UserError, match=r"dataset\.test-fraction 0.001 of 30 samples is none"):
        load(fraction=0.001)
    with pytest.raises(UserError, match=r"there is no .*test\."):
        load(fraction=0.0)
    (tmp_path / f"test.{name}").write_bytes((tmp_path / f"train.{name}").read_bytes())
    with pytest.raises(UserError, match=r"has test samples: leave dataset\.test-fraction at 0"):
        load()


@pytest.mark.parametrize("key", ["test", "validation"])
def test_rows_that_are_held_out_teach_the_encoding_nothing(tmp_path: Path, key: str) -> None:
    """Every row has a value of its own, so that any of a held-out row would show."""
    rows = [(number**2 if number % 4 else "", f"w{number:02}", number % 2) for number in range(20)]
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "train.csv").write_text(f"a,word,y\n{lines}")
    if key == "validation":
        (tmp_path / "test.csv").write_text("a,word,y\n,new,0\n")
    parameters = {"test-fraction": 0.3} if key == "test" else {}

    def load(**request: Any) -> Dataset:
        fraction = 0.3 if key == "validation" else 0.0
        return load_dataset(
            "csv", root=tmp_path, parameters=parameters, validation_fraction=fraction, **request
        )

    data, scaled = load(normalization="none"), load()
    held_out, scaled_out = getattr(data, key), getattr(scaled, key)
    assert (len(data.train), len(held_out)) == (14, 6)
    encoder = data.encoder
    assert encoder is not None
    trained = [rows[int(word[1:])] for word in encoder.categories["word"]]
    assert len(trained) == 14
    known = [value for value, _, _ in trained if value != ""]
    assert encoder.means == {"a": pytest.approx(np.mean(known))}
    np.testing.assert_allclose(
        data.train.inputs[:, 0],
        [encoder.means["a"] if value == "" else value for value, _, _ in trained],
        rtol=1e-6,
    )
    assert torch.equal(data.train.inputs[:, 1:], torch.eye(14))
    assert not held_out.inputs[:, 1:].any()  # categories of their own
    mean = data.train.inputs.double().mean(0)
    spread = data.train.inputs.double().std(0, correction=0)
    np.testing.assert_allclose(scaled.train.inputs, (data.train.inputs - mean) / spread, atol=1e-5)
    np.testing.assert_allclose(scaled_out.inputs, (held_out.inputs - mean) / spread, rtol=1e-5, atol=1e-5)


def test_whether_a_column_is_numeric_does_not_depend_on_what_is_held_out(tmp_path: Path) -> None:
    lines = "".join(f"{'x' if number in (3, 7, 11, 15) else number},{number % 2}\n" for number in range(20))
    (tmp_path / "train.csv").write_text(f"a,y\n{lines}")
    for seed in range(5):
        data = load_dataset("csv", root=tmp_path, seed=seed, parameters={"test-fraction": 0.2})
        assert data.encoder is not None
        assert set(data.encoder.categories) == {"a"}


def test_a_column_without_a_value_to_train_on_is_one_line(tmp_path: Path) -> None:
    lines = "".join(f"{'7' if number == 0 else ''},{number},{number % 2}\n" for number in range(20))
    (tmp_path / "train.csv").write_text(f"a,b,y\n{lines}")

    def outcome(seed: int) -> str:
        try:
            load_dataset("csv", root=tmp_path, seed=seed, parameters={"test-fraction": 0.5})
        except UserError as error:
            return str(error)
        return ""

    what = "has no value in the rows to train on: name it in dataset.drop"
    line = f"{tmp_path / 'train.csv'}: the column 'a' {what}"
    assert {outcome(seed) for seed in range(12)} == {"", line}


def test_a_data_set_of_hugging_face_becomes_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT_ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    code = page.partition("## Hugging Face")[2].partition("```python\n")[2].partition("```")[0]
    images = [Image.fromarray(np.full((5, 4), level, dtype=np.uint8)) for level in range(6)]
    rows = {"image": images, "label": [0, 1, 2] * 2}
    library = SimpleNamespace(load_dataset=lambda path, split: rows)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setitem(sys.modules, "datasets", library)
        exec(code, {})
    data = load_dataset("npz", root=tmp_path / "mnist")
    assert (data.kind, data.input_shape, data.num_classes) == ("images", (3, 5, 4), 3)
    assert data.test.inputs[:, 0, 0, 0].tolist() == list(range(6))
