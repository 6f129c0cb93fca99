"""Ask a SuperLink whether it would admit a node (flwr 1.39's Fleet API, which is internal to Flower)."""

import datetime
from typing import Any

import grpc
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.supercore.error import FlowerError
from flwr.supercore.grpc import GRPC_MAX_MESSAGE_LENGTH, create_channel
from flwr.supercore.interceptors import RuntimeVersionClientInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

_INVALID_HEARTBEAT, _NOT_ACTIVATED = 2003, 2004
_OTHER_TIME = "Invalid timestamp"


def is_registered(address: str, authority: bytes, key: Any, timeout: float) -> bool:
    """Return whether a SuperLink knows the key of a node, without changing its state.

    The request activates the node with an invalid interval, which the SuperLink refuses after it has looked
    up the key.

    Parameters
    ----------
    address : str
        Host and port of the Fleet API.
    authority : bytes
        The authority's certificate, PEM.
    key : EllipticCurvePrivateKey
        The node's private key.
    timeout : float
        Seconds.

    Raises
    ------
    ConnectionError
        Any other failure, as one line.
    """
    channel = create_channel(
        server_address=address,
        insecure=False,
        root_certificates=authority,
        max_message_length=GRPC_MAX_MESSAGE_LENGTH,
        interceptors=[
            RuntimeVersionClientInterceptor(component_name="SuperNode"),
            NodeAuthClientInterceptor(key, key.public_key()),
        ],
    )
    request = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0)
    try:
        FleetStub(channel).ActivateNode(request, timeout=timeout)
    except grpc.RpcError as error:
        details = error.details() or str(error.code())
        refusal = FlowerError.from_json(details)
        if refusal and refusal.code in (_INVALID_HEARTBEAT, _NOT_ACTIVATED):
            return bool(refusal.code == _INVALID_HEARTBEAT)
        text = f"{refusal.message} {refusal.public_details or ''}" if refusal else details
        if text == _OTHER_TIME:
            now = datetime.datetime.now(datetime.UTC)
            text = (
                f"this machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC, which is more than 5 seconds ahead"
                " of the SuperLink's clock or more than 5 minutes behind it: set the one that is wrong"
            )
        raise ConnectionError(" ".join(str(text).split())) from None
    finally:
        channel.close()
    return True
