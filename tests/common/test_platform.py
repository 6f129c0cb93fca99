"""Systems that it runs on."""

import subprocess
import sys

from common.defaults import PROJECT_ROOT


def test_windows_is_refused_in_one_line() -> None:
    code = "import sys; sys.platform = 'win32'; import common"
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "error: Flowerbed needs Linux or macOS: on Windows, install and run it in WSL\n"
