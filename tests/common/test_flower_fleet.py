"""Which versions of Flower have an address of their own for nodes, and what is refused with others."""

import importlib.metadata

import pytest

from common.errors import UserError
from common.flower_fleet import fleet_options, has_own_address, require_own_address


@pytest.mark.parametrize(
    ("version", "has"),
    [("1.39.0", True), ("1.39.1", True), ("1.40.0", False), ("1.42.0", False), ("2.0.0", False)],
)
def test_from_1_40_on_nodes_share_the_address_of_runs(
    monkeypatch: pytest.MonkeyPatch, version: str, has: bool
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert has_own_address() == has
    assert fleet_options("127.0.0.1:9092") == (["--fleet-api-address", "127.0.0.1:9092"] if has else [])
    if has:
        require_own_address("python -m runtimes.superlink")
    else:
        with pytest.raises(UserError, match=f"superlink needs flwr 1.39, and {version} is"):
            require_own_address("python -m runtimes.superlink")
