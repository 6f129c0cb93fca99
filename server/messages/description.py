"""What a node reports about its client, validated as far as possible."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flwr.app import RecordDict

from common.errors import UserError, one_line
from common.records import config_record, metrics_record
from common.versions import own_versions

_MAX_CLASSES, _MAX_EXAMPLES = 10_000_000, 2**53


@dataclass(frozen=True)
class Description:
    """What a node reports about its client.

    ``data`` has the digests of `datasets.digests`: those of the form, and of the samples if the server deals
    them.
    """

    node_id: int
    client_id: int
    label_counts: list[int]
    num_examples: int
    keeps_state: bool
    is_personalised: bool
    personal_names: list[str]
    versions: list[str] = field(default_factory=list)
    device: str = ""
    data: list[str] = field(default_factory=list)


def read_description(node_id: int, content: RecordDict, name: int | None = None) -> Description:
    """Read a node's answer to a ``describe`` query; `name` is the id that its operator knows, if different.

    Raises
    ------
    UserError
        If it is not a valid answer.
    """
    try:
        description = _parsed(node_id, content)
    except (KeyError, TypeError, ValueError) as error:
        named = node_id if name is None else name
        raise UserError(
            f"node {named} does not describe itself as a client of this version does"
            f" ({one_line(str(error))[:200]}): stop it, or start it from the same checkout"
        ) from None
    return description


def check_agreement(found: Iterable[Description]) -> None:
    """Refuse nodes whose data set, or whose personal entries of the model, differ from the first node's.

    Raises
    ------
    UserError
        Names two such nodes, and in what they differ.
    """
    first: Description | None = None
    for other in found:
        first = first or other
        for what, ours, theirs in (
            ("number of classes", len(first.label_counts), len(other.label_counts)),
            ("entries of the model that stay there", first.personal_names, other.personal_names),
        ):
            if ours != theirs:
                raise UserError(
                    f"clients {first.client_id} and {other.client_id} differ in: {what}; start all nodes with"
                    " the same data set and from the same checkout"
                )


def version_remarks(found: Iterable[Description]) -> Iterator[str]:
    """Yield remarks on nodes with other software versions than this process."""
    own = own_versions()
    clients: dict[str, list[int]] = {}
    for description in found:
        others = [version for version in description.versions if version not in own]
        for version in others:
            clients.setdefault(version, []).append(description.client_id)
    for version, ids in sorted(clients.items()):
        library = version.partition(" ")[0]
        here = next((text for text in own if text.startswith(library)), "another version")
        yield f"client {shown_ids(ids)}: {version}, but {here} here: results may differ in their last bits"


def device_remarks(found: Iterable[Description], device: str) -> Iterator[str]:
    """Yield a remark if clients train on a CPU while this process uses a GPU.

    Ray hides GPUs from workers that do not reserve a share of one.

    Parameters
    ----------
    found : Iterable[Description]
        The clients' descriptions.
    device : str
        The type of this process's device.
    """
    slow = [each.client_id for each in found if each.device == "cpu" and device != "cpu"]
    if slow:
        yield (
            f"client {shown_ids(slow)}: training is on the CPU, although this process uses {device}; a"
            " client's part of a GPU is resources.gpus-per-client on Ray,"
            " client-resources-num-gpus in Flower's simulation"
        )


def shown_ids(ids: Sequence[int]) -> str:
    """Return the first of some clients' ids."""
    return ", ".join(map(str, ids[:10])) + (", ..." if len(ids) > 10 else "")


def _parsed(node_id: int, content: RecordDict) -> Description:
    values, config = metrics_record(content), config_record(content)
    labels = values.get("label-counts", [])
    if not isinstance(labels, list) or len(labels) > _MAX_CLASSES:
        raise ValueError("its label counts are not a list of numbers")
    return Description(
        node_id,
        _count(values["client-id"], "client-id"),
        [_count(label, "label-counts") for label in labels],
        _count(values["num-examples"], "num-examples"),
        bool(values["keeps-state"]),
        bool(values["is-personalised"]),
        _texts(config["personal-names"]),
        [one_line(text)[:80] for text in _texts(config.get("versions", []))[:10]],
        one_line(str(config.get("device", "")))[:20],
        _texts(config.get("data", [])),
    )


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("its names are not a list of strings")
    return list(value)


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < _MAX_EXAMPLES:
        raise ValueError(f"its '{name}' is {str(value)[:40]}")
    return value
