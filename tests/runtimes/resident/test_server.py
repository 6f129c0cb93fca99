"""What the resident process does for each message beside Flower's program."""

import sys
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import push_object_contents_from_iterable

if sys.platform != "linux":
    pytest.skip("only Linux has a resident process", allow_module_level=True)

from runtimes.resident.server import tolerant, unpacked

PYPROJECT = """
[project]
name = "tinyapp"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny:app"
clientapp = "tiny:app"
"""


def app_that_says(text: str, folder: Path) -> bytes:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "tiny.py").write_text(f"app = {text!r}\n")
    return build_fab_from_disk(folder)


def test_an_app_is_unpacked_once_where_flower_would_and_another_version_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    calls: list[bytes] = []

    def unpack(app: bytes, skip_prompt: bool) -> Path:
        calls.append(app)
        return install_from_fab(app, skip_prompt=skip_prompt)

    one, other = (app_that_says(text, tmp_path / text) for text in ("one", "other"))
    folder = unpacked(unpack, one, skip_prompt=True)
    assert unpacked(unpack, one, skip_prompt=True) == folder
    assert calls == [one]
    assert install_from_fab(one, skip_prompt=True) == folder
    assert (folder / "tiny.py").read_text() == "app = 'one'\n"

    beside = unpacked(unpack, other, skip_prompt=True)
    assert calls == [one, other]
    assert (beside / "tiny.py").read_text() == "app = 'other'\n"
    assert beside.parent == folder.parent


def test_a_part_of_a_reply_that_is_refused_keeps_no_other_from_being_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored: set[str] = set()

    def answer(request: PushObjectRequest) -> PushObjectResponse:
        is_new = request.object_id not in stored
        stored.add(request.object_id)
        return PushObjectResponse(stored=is_new)

    push = tolerant(make_push_object_fn_protobuf, answer, Node(node_id=1), run_id=2, session_id="s")
    push("1", b"first")  # its answer is lost on the way, so that Flower sends it again with the others
    push_object_contents_from_iterable(((str(number), b"part") for number in range(4)), push)
    assert stored == {"0", "1", "2", "3"}
    assert "object with ID '1'" in capsys.readouterr().err


def test_any_other_error_is_as_loud_as_ever() -> None:
    def answer(request: PushObjectRequest) -> PushObjectResponse:
        raise ConnectionError("gone")

    push = tolerant(make_push_object_fn_protobuf, answer, Node(node_id=1), run_id=2, session_id="s")
    with pytest.raises(ConnectionError):
        push("1", b"part")
