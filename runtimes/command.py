"""Commands in addition to the runs: their exit codes."""

import os
import sys
from collections.abc import Callable

from common.command_line import guarded
from common.errors import ClientFailureError


def exit_code(command: Callable[[], int]) -> int:
    """Run a command that trains or evaluates: as ``guarded``, and 1 after one line if a client failed."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        return guarded(command)
    except ClientFailureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
