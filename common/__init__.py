"""What every layer may import: configuration, keyed randomness, records and errors."""

import sys

if sys.platform == "win32":  # before anything that needs its file locks fails to be imported
    raise SystemExit("error: Flowerbed needs Linux or macOS: on Windows, install and run it in WSL")
