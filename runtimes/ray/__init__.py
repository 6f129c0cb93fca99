"""Long-lived Ray actors that do the jobs of clients, on this machine or on a cluster."""

from common.errors import UserError

try:
    import ray  # noqa: F401
except ImportError as error:
    raise UserError(f"runtime.name 'ray' needs Ray ({error}): pip install 'flwr[simulation]'") from None
