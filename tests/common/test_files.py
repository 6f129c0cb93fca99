import os
import socket
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import expanded, read_json, read_text, write_atomic


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old content")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_content_survives_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def fail(*arguments: object) -> None:
        # What was written so far is in the temporary file, never in the target.
        assert path.read_bytes() == b"old"
        raise error

    monkeypatch.setattr(*((os, "fsync") if function == "fsync" else (Path, "replace")), fail)
    with pytest.raises(type(error)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced_before = tmp_path / "x", []
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced_before.append(path.exists()), original(fd)))
    write_atomic(path, b"x")
    assert synced_before == [False, True]  # the file, then the directory that names it


class TestReading:
    def test_a_byte_order_mark_does_not_count(self, tmp_path: Path) -> None:
        path = tmp_path / "x.txt"
        path.write_bytes("\ufeffä\n".encode())
        assert read_text(path) == "ä\n"
        path.write_bytes('\ufeff{"a": 1}'.encode())
        assert read_json(path) == {"a": 1}

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00", "ä".encode("latin-1"), "x".encode("utf-16")])
    def test_other_encodings_are_refused_with_the_key(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.txt"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"^some\.key: cannot read .*x\.txt: it is not UTF-8"):
            read_text(path, "some.key")

    def test_pipes_devices_and_folders_are_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to("/dev/zero")
        (tmp_path / "gone").symlink_to("nowhere")
        for name, kind in (
            ("pipe", "a pipe"),
            ("socket", "a socket"),
            ("link", "a device"),
            ("gone", "No such file"),
            ("", "a folder"),
            ("a\0b", "null"),
        ):
            with pytest.raises(UserError, match=kind):
                read_text(tmp_path / name)

    def test_a_size_beyond_sense_is_refused_unread(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").touch()
        os.truncate(tmp_path / "x.txt", 2**40)
        with pytest.raises(UserError, match=r"cannot read .*x\.txt: it has 1099511627776 bytes"):
            read_text(tmp_path / "x.txt")

    @pytest.mark.parametrize(
        "text", ["", "{", "[" * 100_000, "1" * 10_000, '{"a": 1, "b": {"c": 1, "c": 1}}']
    )
    def test_what_is_not_json_is_refused_in_one_line(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(UserError, match="is not valid JSON") as raised:
            read_json(path)
        assert "\n" not in str(raised.value)
        assert "sys.set_int" not in str(raised.value)

    def test_an_unknown_user_in_a_path(self) -> None:
        with pytest.raises(UserError, match=r"^some\.key: cannot use the path '~nobody-here/x'"):
            expanded("~nobody-here/x", "some.key")
        assert expanded("~/x", "some.key") == Path.home() / "x"

    def test_a_path_that_the_system_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for path in (tmp_path / "loop", tmp_path / "loop" / "below"):
            with pytest.raises(UserError, match=r"^some\.key: cannot use the path '.*lo.*: Too many levels"):
                expanded(path, "some.key")
        with pytest.raises(
            UserError, match=r"^some\.key: cannot use the path '/?x+\.\.\.: File name too long"
        ):
            expanded("x" * 5000, "some.key")

    def test_a_path_with_a_zero_byte(self) -> None:
        with pytest.raises(UserError, match=r"^some\.key is not UTF-8 text, or holds a zero byte: 'a\\x00'$"):
            expanded("a\0", "some.key")
