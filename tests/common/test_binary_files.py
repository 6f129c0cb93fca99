import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from common.binary_files import read_npz, read_safetensors
from common.errors import UserError


def npz(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


WHOLE = {
    "x.npz": npz(a=np.arange(5), b=np.eye(2, dtype=np.float32)),
    "x.safetensors": save({"a": np.arange(5), "b": np.eye(2, dtype=np.float32)}),
}


def read(path: Path) -> dict[str, np.ndarray]:
    return read_npz(path, "a", "b") if path.suffix == ".npz" else read_safetensors(path)


@pytest.mark.parametrize("name", WHOLE)
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE[name])
    content = read(tmp_path / name)
    assert content["a"].tolist() == [0, 1, 2, 3, 4]
    assert content["b"].dtype == np.float32


@pytest.mark.parametrize(
    ("metadata", "names"), [({"order": '["d", "b"]'}, "dbac"), ({"order": "[]"}, "abcd"), (None, "abcd")]
)
def test_the_order_of_arrays_is_that_of_the_file(
    tmp_path: Path, metadata: dict[str, str] | None, names: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({name: np.arange(3) for name in "cadb"}, metadata=metadata))
    assert list(read_safetensors(path)) == list(names)


def test_pickles_are_refused_and_missing_arrays_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(npz(a=np.array([{}], dtype=object), b=1))
    with pytest.raises(UserError, match=r"cannot read .*x\.npz: .*pickle"):
        read(path)
    path.write_bytes(npz(a=1))
    with pytest.raises(UserError, match="has no array 'b'"):
        read(path)


def test_a_size_of_terabytes_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.npy", header.getvalue())
        archive.writestr("b.npy", header.getvalue())
    (tmp_path / "x.npz").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("name", WHOLE)
def test_pipes_folders_and_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for make, kind in ((lambda: None, "No such file"), (lambda: os.mkfifo(path), "a pipe")):
        make()
        with pytest.raises(UserError, match=kind):
            read(path)


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_arrays_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(value, np.ndarray) for value in found.values())
