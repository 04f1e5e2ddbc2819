"""A configuration as it may be shown, and its JSON Schema."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from torana.config.secret import HIDDEN, Secret, without_credentials
from torana.config.shape import LIMITS, Config
from torana.config.snapshot import is_loopback, resolve

Object = dict[str, Any]  # JSON of ours


def redacted(config: Config) -> Object:
    """The configuration as plain values in the shape of the file, secrets hidden."""
    shown: Object = msgspec.to_builtins(config, enc_hook=_hide)
    for row in shown["providers"].values():
        if "base_url" in row:
            row["base_url"] = without_credentials(row["base_url"])
    shown["keys"] = [{**row, **({"hash": HIDDEN} if "hash" in row else {})} for row in shown["keys"]]
    return shown


def _hide(value: object) -> str:
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no part of a configuration")


def schema() -> Object:
    """JSON Schema of torana.yaml, for editors and for the check of the documentation."""
    found = msgspec.json.schema(Config, schema_hook=_describe)
    for part in found["$defs"].values():
        part.pop("description", None)  # a docstring of the code
        part["additionalProperties"] = False
    _amounts(found)
    for name, meaning in LIMITS.items():
        found["$defs"]["ServerLimits"]["properties"][name]["description"] = meaning
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "torana.yaml",
        **found,
    }


def _amounts(node: Any) -> None:
    """Prices are written as numbers; msgspec thinks of JSON, where a decimal is a text. `node` is a part of a schema."""
    if isinstance(node, dict) and node.get("format") == "decimal":
        node |= {"type": "number", "minimum": 0}
        del node["format"]
        if "default" in node and node["default"] is not None:
            node["default"] = float(node["default"])
    elif isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            _amounts(item)


def _describe(kind: type) -> Object:
    if kind is Secret:
        return {"type": "string", "writeOnly": True}
    if kind is object:
        return {"description": "Any value."}
    raise TypeError(f"{kind.__name__} is no part of a configuration")


def check(config: Config, environ: Mapping[str, str]) -> list[str]:
    """What works and is probably not meant. Each is a sentence; what cannot work was refused by load()."""
    found: list[str] = []
    server = config.server
    if not is_loopback(server.host):
        if server.tls is None:
            found.append(
                f"server.host {server.host} is reachable by others and server.tls is not set: keys and prompts "
                "travel in the clear unless a proxy in front of Torana encrypts them"
            )
        if not config.keys:
            found.append(
                f"server.host {server.host} needs a key of your own, and none is under `keys:`; "
                "serve will refuse to start unless one was made with `torana keys create`"
            )
    found += _about_providers(config, environ)
    return found


def _about_providers(config: Config, environ: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for name, provider in resolve(config, environ).providers.items():
        parts = urlsplit(provider.base_url)
        if parts.scheme == "http" and provider.api_key and not is_loopback(parts.hostname or ""):
            found.append(f"the key of the provider {name!r} travels in the clear: its base_url is http://")
    return found
