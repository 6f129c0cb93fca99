"""A network namespace that reaches this machine by a link which a test can cut; needs root and ``ip``."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

HOST, _OTHER = "10.77.0.1", "10.77.0.2"
IS_POSSIBLE = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None


@dataclass(frozen=True)
class Link:
    """The link between this machine, at ``HOST``, and a namespace."""

    name: str
    namespace: str

    @property
    def inside(self) -> list[str]:
        """What a command is prefixed with to run in the namespace."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        """Let nothing pass any more."""
        _run(f"ip link set {self.name} down")

    def mend(self) -> None:
        """Let everything pass again."""
        _run(f"ip link set {self.name} up")


@contextlib.contextmanager
def linked_namespace() -> Iterator[Link]:
    """Make a namespace for the time of a test."""
    link = Link(f"fb{os.getpid()}a", f"flowerbed-{os.getpid()}")
    space, peer = link.namespace, f"fb{os.getpid()}b"
    try:
        _run(f"ip netns add {space}")
        _run(f"ip link add {link.name} type veth peer name {peer}")
        _run(f"ip link set {peer} netns {space}")
        _run(f"ip addr add {HOST}/24 dev {link.name}")
        _run(f"ip -n {space} addr add {_OTHER}/24 dev {peer}")
        _run(f"ip -n {space} link set {peer} up")
        _run(f"ip -n {space} link set lo up")
        link.mend()
        yield link
    finally:
        subprocess.run(["ip", "netns", "del", space], check=False)  # the link goes with it


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)
