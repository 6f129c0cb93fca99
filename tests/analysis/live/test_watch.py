"""The server of the live page: what it answers, to whom, and how it ends."""

import http.client
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import commands, main
from analysis.live.watch import HOST, Server, make_server
from common.command_line import guarded
from tests.analysis.live.test_snapshot import HEADER, make_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


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


def shown(folder: Path, profile: Path) -> str:
    """Return the document that a browser makes of the page."""
    with make_server([folder], 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
            "--virtual-time-budget=3000", "--disable-background-networking", "--dump-dom",
        ]  # fmt: skip
        address = f"http://{HOST}:{server.server_address[1]}/"
        found = subprocess.run([str(BROWSER), *options, address], capture_output=True, text=True, timeout=200)
        server.shutdown()
        thread.join()
    return found.stdout


@pytest.mark.slow
@needs_browser
def test_twenty_runs_look_different(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    for number in range(20):
        make_run(folder / f"a & <b>{number}<b>")
    page = shown(folder, tmp_path / "profile")
    lines = re.findall(r"<polyline [^>]*>", page)
    looks = {re.sub(r'points="[^"]*"', "", line) for line in lines}
    assert (len(lines), len(looks)) == (40, 20)  # in each of two charts
    assert page.count("a &amp; &lt;b&gt;7&lt;b&gt;") >= 4  # two curves, two legends, and the table
    assert "<b>" not in page


@pytest.mark.slow
@needs_browser
def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.csv").write_text(HEADER + "1,0.5,0.4,0.1,0,1\n2,nan,0.3,0.2,0,1\n")
    page = shown(run, tmp_path / "profile")
    assert '<td class="bad">nan</td>' in page
