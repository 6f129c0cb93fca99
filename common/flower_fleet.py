"""Where a SuperLink listens for its SuperNodes: an address of their own until flwr 1.39.

From 1.40 on nodes use HTTP, at the address at which ``flwr run`` submits programs without a password.
"""

import importlib.metadata

from common.errors import UserError

_FIRST_WITHOUT = (1, 40)


def has_own_address() -> bool:
    """Return whether nodes connect to an address of their own, by gRPC."""
    major, minor = importlib.metadata.version("flwr").split(".")[:2]
    return (int(major), int(minor)) < _FIRST_WITHOUT


def require_own_address(command: str) -> None:
    """Refuse to open a SuperLink to other machines if they could submit runs to it as well."""
    if not has_own_address():
        raise UserError(
            f"{command} needs flwr 1.39, and {importlib.metadata.version('flwr')} is installed: from 1.40"
            " on a SuperLink has one address for nodes and for whoever submits a run, which is any program,"
            " without a password. Install the project's dependencies (pip install .), or keep to one machine"
            " with 'python -m runtimes.federation'"
        )


def fleet_options(address: str) -> list[str]:
    """Return the options of ``flower-superlink`` for the address of its nodes."""
    return ["--fleet-api-address", address] if has_own_address() else []
