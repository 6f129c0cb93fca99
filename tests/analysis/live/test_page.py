"""The live page in a browser, where one is installed."""

import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from analysis.live.watch import HOST, make_server
from tests.analysis.live.test_snapshot import HEADER, make_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs chromium")]


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


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.csv").write_text(HEADER + "1,0.5,0.4,0.1,0,1\n2,nan,0.3,0.2,0,1\n")
    page = shown(run, tmp_path / "profile")
    assert '<td class="bad">nan</td>' in page
