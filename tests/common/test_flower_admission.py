"""What a node is told when a SuperLink does not take it."""

from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

flower_admission = pytest.importorskip(
    "common.flower_admission", reason="flwr from 1.40 on", exc_type=ImportError
)


class Refusal(grpc.RpcError):
    """A refusal of gRPC."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def details(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("Invalid timestamp", r"this machine's clock says .* UTC, which is more than 5 seconds ahead of"),
        ("Something\n else", "Something else"),
    ],
)
def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, details: str, said: str) -> None:
    class Stub:
        def __init__(self, channel: Any) -> None:
            pass

        def ActivateNode(self, request: Any, timeout: float) -> None:  # noqa: N802
            raise Refusal(details)

    monkeypatch.setattr(flower_admission, "FleetStub", Stub)
    monkeypatch.setattr(flower_admission, "create_channel", lambda **_: grpc.insecure_channel("127.0.0.1:9"))
    with pytest.raises(ConnectionError, match=said):
        flower_admission.is_registered("127.0.0.1:9", b"", ec.generate_private_key(ec.SECP384R1()), 1)
