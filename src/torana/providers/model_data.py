"""What is known of each provider's models: read from models.json, which scripts/generate_models.py writes.

The file holds thousands of rows. Only those of the providers asked for are decoded, and nothing else of it stays
in memory. Knows nothing of routes: an unknown model is not an error here.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from torana.errors import ConfigError
from torana.records import Model
from torana.wire import json


class _File(Struct):
    rows: dict[str, Raw]


_file = msgspec.json.Decoder(_File)
_rows = msgspec.json.Decoder(list[Model])
_DATE = re.compile(r"[-@]20\d\d(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])\Z")

Rows = dict[str, Model]  # model id -> row


def models(provider: str) -> Rows:
    """The rows of one provider of the catalog; none for one that the data does not know."""
    return models_of([provider])[provider]


def models_of(providers: Iterable[str]) -> dict[str, Rows]:
    """The rows of several providers, with one reading of the file."""
    body = Path(__file__).with_name("models.json").read_bytes()
    held = json.read(_file, body, ConfigError).rows
    return {name: {row.id: row for row in _decoded(held, name)} for name in providers}


def _decoded(held: Mapping[str, Raw], provider: str) -> list[Model]:
    raw = held.get(provider)
    return json.read(_rows, raw, ConfigError) if raw is not None else []


def find(rows: Mapping[str, Model], model: str) -> Model | None:
    """The row of a model; a dated name (gpt-5-2025-08-07) without a row of its own has that of the undated one."""
    return rows.get(model) or rows.get(_DATE.sub("", model))
