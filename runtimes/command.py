"""Commands beside the runs: their exit codes."""

import os
import sys
from collections.abc import Callable

from common.errors import ClientFailureError, UserError


def exit_code(command: Callable[[], int]) -> int:
    """Run a command: 1 if a client failed, 2 for wrong input, 130 if it was stopped; errors are one line."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ClientFailureError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
