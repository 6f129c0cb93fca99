"""The server of the live page: what it answers, to whom, and how it ends."""

import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import commands, main
from analysis.live.watch import HOST, Server, make_server
from common.command_line import guarded
from tests.analysis.live.test_snapshot import make_run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    make_run(tmp_path / "<b>run")
    with make_server([tmp_path / "<b>run"], 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_the_page_asks_nobody_else(server: Server) -> None:
    status, headers, content = ask(server, "/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "'sha256-" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    text = content.decode()
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|https?://(?!www\.w3\.org)", text)
    assert "innerHTML" not in text  # names of runs are text


def test_the_data(server: Server) -> None:
    status, headers, content = ask(server, "/data.json?metric=seconds")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    data = json.loads(content)
    assert list(data["curves"]) == ["seconds"]
    assert data["runs"][0]["total"] == 10


def test_what_is_refused(server: Server) -> None:
    assert ask(server, "/", Host="evil.example")[0] == 403
    assert ask(server, "/", Host=f"localhost:{server.server_address[1]}")[0] == 200
    for path in ("/../config.toml", "/config.toml", "/data.json/", "/%2e%2e/metrics.csv"):
        assert ask(server, path)[0] == 404, path
    assert ask(server, "/", method="POST")[0] == 501
    assert ask(server, "/", method="HEAD")[2] == b""


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_ctrl_c_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    make_run(tmp_path / "run")
    assert "watch" in commands()
    assert main(["watch", str(tmp_path / "run"), "--port", "0"]) == 0
    output = capsys.readouterr()
    assert re.match(rf"watching {tmp_path}/run at http://127.0.0.1:\d+/ ", output.out)
    assert output.err == ""


def test_wrong_directories_and_ports_are_one_line(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    run, taken = str(tmp_path / "<b>run"), str(server.server_address[1])
    for arguments, message in [
        ([str(tmp_path / "absent")], "there is no directory"),
        ([str(tmp_path / "file")], "there is no directory"),
        ([str(tmp_path / "empty")], "holds no run and no sweep"),
        ([run, "--port", taken], "choose another with --port"),
        ([run, "--port", "70000"], "ports go from 1 to 65535"),
        ([run, "--port", "http"], "invalid int value"),
        ([], "required: RUN"),
    ]:
        assert guarded(lambda arguments=arguments: main(["watch", *arguments])) == 2  # type: ignore[misc]
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def test_the_usual_port_may_be_taken(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.live.watch.PORT", server.server_address[1])
    with make_server([tmp_path]) as other:
        assert other.server_address[1] not in (0, server.server_address[1])
