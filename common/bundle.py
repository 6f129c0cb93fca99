"""Messages to several clients of one node bundled into one message, and their replies into one reply.

A bundle's records are named ``<content>/<name>``, and one record maps each client, by its place on the node
from 0, to its content: contents that messages share are sent once. In a reply the first part of a name is the
place itself, and a place without a reply has an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from flwr.app import ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict

from common.flower import new_content

Record: TypeAlias = ArrayRecord | ConfigRecord | MetricRecord

BUNDLE = "bundle"
_PLACES, _CONTENTS, _CODES, _REASONS = "places", "contents", "codes", "reasons"


@dataclass(frozen=True)
class Answer:
    """A client's reply: content or an error."""

    content: RecordDict | None = None
    error: Error | None = None


def pack(contents: Mapping[int, RecordDict]) -> RecordDict:
    """Bundle the contents of several messages, by place; an object that they share is included once."""
    numbers: dict[int, int] = {}
    records: dict[str, Record] = {}
    for content in contents.values():
        if id(content) not in numbers:
            numbers[id(content)] = len(numbers)
            records |= prefixed(content, numbers[id(content)])
    which = [numbers[id(content)] for content in contents.values()]
    records[BUNDLE] = ConfigRecord({_PLACES: list(contents), _CONTENTS: which})
    return new_content(records)


def unpack(bundle: RecordDict, num_places: int) -> dict[int, RecordDict]:
    """Return place → content of an untrusted bundle.

    Raises
    ------
    ValueError
        If it is not a bundle for a node with this number of places.
    """
    places, which = _numbers(bundle, _PLACES), _numbers(bundle, _CONTENTS)
    if len(places) != len(which) or len(set(places)) < len(places):
        raise ValueError("its lists do not fit together")
    if not all(0 <= place < num_places for place in places):
        raise ValueError(f"it is for a client that is none of the node's {num_places}")
    parts = split(bundle)
    contents = {number: new_content(parts.get(number, {})) for number in which}
    return {place: contents[number] for place, number in zip(places, which, strict=True)}


def pack_answers(answers: Mapping[int, Answer]) -> RecordDict:
    """Bundle the answers of several clients, by place."""
    records: dict[str, Record] = {}
    codes, reasons = [], []
    for place, answer in answers.items():
        codes.append(answer.error.code if answer.error else 0)
        reasons.append((answer.error.reason or "") if answer.error else "")
        if answer.content is not None:
            records |= prefixed(answer.content, place)
    records[BUNDLE] = ConfigRecord({_PLACES: list(answers), _CODES: codes, _REASONS: reasons})
    return new_content(records)


def unpack_answers(bundle: RecordDict) -> dict[int, Answer]:
    """Return place → answer of an untrusted reply.

    Raises
    ------
    ValueError
        If it is not a bundle of answers.
    """
    places, codes = _numbers(bundle, _PLACES), _numbers(bundle, _CODES)
    reasons = bundle.config_records[BUNDLE].get(_REASONS)
    if not isinstance(reasons, list) or not len(places) == len(codes) == len(reasons) == len(set(places)):
        raise ValueError("its lists do not fit together")
    parts = split(bundle)
    return {
        place: Answer(error=Error(code, str(reason))) if code else Answer(new_content(parts.get(place, {})))
        for place, code, reason in zip(places, codes, reasons, strict=True)
    }


def prefixed(content: RecordDict, number: int) -> dict[str, Record]:
    """Return records with a number prefixed to their names."""
    return {f"{number}/{name}": record for name, record in content.items()}


def split(content: RecordDict) -> dict[int, dict[str, Record]]:
    """Return number → the records with this prefix, under the rest of their names."""
    parts: dict[int, dict[str, Record]] = {}
    for name, record in content.items():
        number, slash, rest = name.partition("/")
        if slash and number.isdecimal() and number.isascii():
            parts.setdefault(int(number), {})[rest] = record
    return parts


def _numbers(bundle: RecordDict, name: str) -> list[int]:
    record = bundle.get(BUNDLE)
    values = record.get(name) if isinstance(record, ConfigRecord) else None
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ValueError(f"it lists no {name}")
    return values  # type: ignore[return-value]
