"""A small disk of its own for a folder, which a test can fill; needs root and ``mount``."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

IS_POSSIBLE = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None
_PIECE = b"\0" * 65536


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount an empty disk at a folder, which is made, for the time of a test."""
    folder.mkdir(parents=True)
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)  # processes may still use it


def fill(disk: Path) -> Path:
    """Leave no room on a disk; return the file that takes it all."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(_PIECE):
            pass
    assert shutil.disk_usage(disk).free == 0
    return filler
