"""Who answers, where, and how we prove who we are. Knows nothing of calls in flight.

The catalog is data: catalog.yaml is what people read and edit, catalog.json the same rows in the form that loads
in a millisecond. A user's configuration adds rows and overrides fields under the same names.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from torana.errors import ConfigError
from torana.providers.auth import FRAMING
from torana.providers.model_data import find, models, models_of
from torana.providers.spelling import nearest, suggestion
from torana.records import Accent, Provider, Timeouts
from torana.wire import json

__all__ = [
    "RESERVED",
    "configured",
    "find",
    "load_catalog",
    "merge",
    "models",
    "models_of",
    "nearest",
    "suggestion",
]

RESERVED = frozenset({"echo"})  # answers inside this process (providers.echo)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")  # what the model string keeps for itself: , ! / :
PLACEHOLDER = re.compile(r"\{([A-Z][A-Z0-9_]*)(?:=([^{}]*))?\}")
_catalog = msgspec.json.Decoder(dict[str, Provider])


def load_catalog() -> dict[str, Provider]:
    """Every provider we know, by name."""
    body = Path(__file__).with_name("catalog.json").read_bytes()
    rows = json.read(_catalog, body, ConfigError)
    return {name: msgspec.structs.replace(row, name=name) for name, row in rows.items()}


# ---------------------------------------------------------------- the user's rows


def merge(catalog: Mapping[str, Provider], overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Provider]:
    """The catalog with the user's rows: a field that is written replaces the catalog's.

    Within `accent` and `timeouts` the same holds for their fields, within `headers` for each header (null removes
    one). Raises ConfigError naming the row, the field and the closest known name.
    """
    rows = dict(catalog)
    for name, given in overrides.items():
        rows[name] = _overridden(name, catalog.get(name, Provider(name=name)), given)
    return rows


def _overridden(name: str, row: Provider, given: Mapping[str, Any]) -> Provider:
    """`given` is {field of records.Provider: value}."""
    where = f"providers.{name}"
    _check_name(where, name)
    if "name" in given:
        raise ConfigError(f"{where}: a provider's name is its key; remove `name`.")
    _check_fields(where, given, Provider)
    changes = dict(given)
    if (accent := changes.get("accent")) is not None:
        changes["accent"] = _nested(f"{where}.accent", row.accent, accent)
    if (timeouts := changes.get("timeouts")) is not None:
        changes["timeouts"] = _nested(f"{where}.timeouts", row.timeouts, timeouts)
    if isinstance(headers := changes.get("headers"), Mapping):
        merged = {**row.headers, **{str(key).lower(): value for key, value in headers.items()}}
        changes["headers"] = {key: value for key, value in merged.items() if value is not None}
    merged_row = {**msgspec.structs.asdict(row), **changes}
    made = _convert(where, msgspec.to_builtins(merged_row), Provider)
    _check_row(where, made)
    return made


def _nested(where: str, row: Accent | Timeouts, given: Any) -> dict[str, Any]:
    """`given` is {field: value}."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} must be a mapping of fields.")
    _check_fields(where, given, type(row))
    return {**msgspec.structs.asdict(row), **given}


def _check_name(where: str, name: str) -> None:
    if name in RESERVED:
        raise ConfigError(f"{where}: the name {name!r} is taken by the provider inside Torana.")
    if not NAME.match(name):
        raise ConfigError(
            f"{where}: a provider's name is 1 to 64 lower-case letters, digits, '.', '_' and '-',"
            " and begins with a letter or digit."
        )


def _check_fields(where: str, given: Mapping[str, Any], struct: type[Struct]) -> None:
    known = [field for field in struct.__struct_fields__ if (struct, field) != (Provider, "name")]
    for field in given:
        if field not in known:
            hint = suggestion(str(field), known) or f" Known: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown field {field!r}.{hint}")


def _convert(where: str, value: Any, struct: type[Provider]) -> Provider:
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {exc}.") from None


def _check_row(where: str, row: Provider) -> None:
    from torana.dialects import DIALECTS  # the command line need not load them to print its help

    if row.dialect not in DIALECTS:
        known = ", ".join(sorted(DIALECTS))
        raise ConfigError(f"{where}.dialect: {row.dialect!r} is not a dialect. Known: {known}.")
    if not row.base_url:
        raise ConfigError(f"{where}: a provider that is not in the catalog needs a base_url.")


# ---------------------------------------------------------------- what can be used


def configured(
    rows: Mapping[str, Provider], environ: Mapping[str, str], named: Collection[str] = ()
) -> dict[str, Provider]:
    """The rows that can be used, with key and placeholders filled.

    A row is used when it has a key, its own or one that the environment holds, and the environment fills its
    placeholders. Those `named` in the configuration are also used without a key if they are local, say
    `auth: none`, or have no variable that could hold one. Raises ConfigError for a named row that cannot be used,
    and for any row whose key or address cannot be sent.
    """
    used = {}
    for name, row in rows.items():
        wanted = name in named
        key = row.api_key or ("" if row.local and not wanted else _key(row, environ))
        if not key and not wanted:
            continue
        keyless = row.local or row.auth == "none" or not row.env
        if not key and not keyless:
            raise ConfigError(
                f"providers.{name} has no key: set {' or '.join(row.env)} in the environment, give it an api_key,"
                " or say `auth: none`."
            )
        filled = _filled(row, environ, key, wanted=wanted)
        if filled is not None:
            used[name] = filled
    return used


def _key(row: Provider, environ: Mapping[str, str]) -> str:
    for variable in row.env:
        if key := environ.get(variable, "").strip():
            return key
    return ""


def _filled(row: Provider, environ: Mapping[str, str], key: str, *, wanted: bool) -> Provider | None:
    where = f"providers.{row.name}"
    texts = [row.base_url, row.path, row.query, *row.headers.values()]
    missing = [name for text in texts for name in _missing(text, environ)]
    if missing:
        if wanted:
            raise ConfigError(f"{where} needs {', '.join(missing)} in the environment.")
        return None
    filled = msgspec.structs.replace(
        row,
        api_key=key,
        base_url=_address(where, row.base_url, environ),
        path=_fill(row.path, environ),
        query=_fill(row.query, environ),
        headers={name.lower(): _fill(value, environ) for name, value in row.headers.items()},
    )
    _check_sendable(where, filled)
    return filled


def _missing(text: str, environ: Mapping[str, str]) -> list[str]:
    return [
        found[1]
        for found in PLACEHOLDER.finditer(text)
        if found[2] is None and not environ.get(found[1], "").strip()
    ]


def _fill(text: str, environ: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: environ.get(found[1], "").strip() or (found[2] or ""), text)


def _address(where: str, text: str, environ: Mapping[str, str]) -> str:
    """The base URL, filled. A variable may hold a host or a whole address, with or without a slash at its end."""
    values = {name: value.strip().rstrip("/") for name, value in environ.items() if name in text}
    if text.startswith("https://{"):
        values = {name: value.removeprefix("https://") for name, value in values.items()}
    url = _fill(text, values).rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{where}.base_url: {url!r} is not a URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"{where}.base_url: {url!r} must be http:// or https:// and a host.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"{where}.base_url must hold neither a user name nor ? nor #; use api_key and query."
        )
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{where}.base_url: {url!r} holds characters that a URL cannot.")
    return url


def _check_sendable(where: str, row: Provider) -> None:
    """What goes into a request head must not be able to end a line. Values are never repeated: they are secrets."""
    for name, value in (
        ("api_key", row.api_key),
        *((f"headers.{key}", text) for key, text in row.headers.items()),
    ):
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ConfigError(f"{where}.{name} holds characters that a header cannot carry.")
    for name in row.headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name):
            raise ConfigError(f"{where}.headers: {name!r} is not a header name.")
        if name in FRAMING:
            raise ConfigError(f"{where}.headers: {name} is written by the transport; remove it.")
    for name, value in (("path", row.path), ("query", row.query)):
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ConfigError(f"{where}.{name} must be percent-encoded ASCII.")
    if row.path and not row.path.startswith("/"):
        raise ConfigError(f"{where}.path must begin with a slash.")
