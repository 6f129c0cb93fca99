"""Code that every layer may import: configuration, keyed randomness, records and errors."""

import sys

if sys.platform == "win32":  # checked first: imports that need POSIX file locks would fail
    raise SystemExit("error: Flowerbed needs Linux or macOS: on Windows, install and run it in WSL")
