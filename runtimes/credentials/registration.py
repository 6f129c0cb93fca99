"""Register the keys of the credentials' folder with a running SuperLink, and remove revoked ones."""

from common.errors import UserError
from common.flower_control import SuperLink, registered
from runtimes.credentials.folder import Credentials


def register(credentials: Credentials, address: str) -> list[str]:
    """Register the nodes that a SuperLink does not know, and unregister revoked ones; return lines."""
    keys, lines = credentials.public_keys(), []
    revoked = set(credentials.revoked_keys())
    with SuperLink(address, credentials.authority) as superlink:
        known = registered(superlink.nodes())
        for node in known:
            if node.public_key in revoked:
                superlink.unregister(node.node_id)
                lines.append(f"revoked: node id {node.node_id} ({node.name or 'without a name'})")
        there = {node.public_key: node.node_id for node in known}
        for name, key in keys.items():
            if key in there:
                lines.append(f"registered already: {name}, node id {there[key]}")
            else:
                lines.append(f"registered: {name}, node id {superlink.register(name, key)}")
    return lines or ["there is nothing to register: --node of 'make' adds nodes"]


def revoke(credentials: Credentials, name: str, address: str | None) -> list[str]:
    """Take a node out of the folder and, where there is an address, out of the SuperLink; return lines.

    The SuperLink comes first: if it does not answer, nothing is changed.
    """
    folder = credentials.node(name)
    if name not in credentials.nodes():
        known = ", ".join(credentials.nodes()) or "none"
        raise UserError(f"there is no node '{name}' in {credentials.path} (its nodes: {known})")
    if address is None:
        credentials.revoke(name)
        return [f"{folder}: deleted; a SuperLink that is running accepts it until 'register' is run"]
    key, line = credentials.public_keys()[name], f"revoked: {name}, which {address} did not know"
    with SuperLink(address, credentials.authority) as superlink:
        for node in registered(superlink.nodes()):
            if node.public_key == key:
                superlink.unregister(node.node_id)
                line = f"revoked: {name}, node id {node.node_id}: {address} refuses it from now on"
    credentials.revoke(name)
    return [line]
