"""A JSON schema of experiment files, for editors that validate TOML."""

from typing import Any

from common.config import Config
from common.defaults import default_values
from common.sections import OpenSection
from runtimes.describe.keys import documentation, field_schema, fields, schema_of
from runtimes.describe.things import chosen_by, kinds, things


def json_schema() -> dict[str, Any]:
    """Return the schema of a file of overrides: every key is optional, unknown ones are refused."""
    properties: dict[str, Any] = {}
    for key, field in fields().items():
        section, _, name = key.rpartition(".")
        holder = properties
        if section:
            holder = properties.setdefault(section, _section(section))["properties"]
        holder[name] = _described(key, field_schema(field))
    for word, names in kinds().items():
        if not chosen_by(word):
            continue
        holder = properties.setdefault(word, _section(word))
        if "properties" in holder:  # a single key, such as ``metrics``, has no further parameters
            _add_parameters(word, names, holder["properties"])
    # Tables of a sweep or a search, with free labels.
    properties |= {table: {"type": "object"} for table in ("axes", "cells", "report", "search")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Experiment file of Flowerbed",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _section(name: str) -> dict[str, Any]:
    field = Config.model_fields.get(name.replace("-", "_"))
    annotation = field.annotation if field else None
    # Plug-ins have parameters that are unknown here.
    is_open = isinstance(annotation, type) and issubclass(annotation, OpenSection)
    return {"title": name, "type": "object", "properties": {}, "additionalProperties": is_open}


def _described(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = dict(schema)
    if text := documentation().get(key):
        described["description"] = text
    if key in default_values():
        described["default"] = default_values()[key]
    return described


def _add_parameters(word: str, names: list[str], properties: dict[str, Any]) -> None:
    """Add the parameters of all things of a kind; one shared by several takes what any of them takes."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        for thing in things(name, word) if "<" not in name else []:
            for parameter, (annotation, _) in thing.parameters.items():
                schemas = found.setdefault(parameter.replace("_", "-"), [])
                if (schema := schema_of(annotation)) not in schemas:
                    schemas.append(schema)
    for parameter, schemas in found.items():
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        properties.setdefault(parameter, _described(f"{word}.{parameter}", schema))
