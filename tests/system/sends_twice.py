"""A SuperNode that sends every reply to the SuperLink a second time, as after a lost acknowledgement."""

import sys
from collections.abc import Callable
from typing import Any

from flwr.supernode import start_client_internal as inner
from flwr.supernode.cli import flower_supernode

_push, _contents = inner._push_messages, inner.push_object_contents_from_iterable
_latest: list[Callable[[], object]] = []


def _noted(state: Any, object_store: Any, send: Callable[..., Any], push_object: Any) -> None:
    def note(*reply: Any) -> Any:
        _latest[:] = [lambda: send(*reply)]
        return send(*reply)

    _push(state, object_store, note, push_object)


def _again(*arguments: Any, **named: Any) -> None:
    _contents(*arguments, **named)
    print("sent again:", _latest[0](), flush=True)


inner._push_messages, inner.push_object_contents_from_iterable = _noted, _again

if __name__ == "__main__":
    sys.exit(flower_supernode())
