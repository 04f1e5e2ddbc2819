"""JSON Schemas in the subset that Anthropic takes.

A tool's input_schema is an object without anyOf, oneOf or allOf at its root; an answer's schema closes every object
and knows no bounds on numbers, lengths or counts:
https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from collections.abc import Iterator
from typing import Any  # a JSON Schema: {"type": str, "properties": {name: schema}, ...}, or a boolean

from msgspec import DecodeError, Raw
from msgspec.json import Decoder

from torana.errors import InvalidRequest
from torana.wire.json import encode, read

EMPTY = Raw(b'{"type":"object","properties":{}}')
DEPTH_MAX = 64  # fault matrix V30; a deeper schema is refused
VARIANTS_MAX = 256  # references can make a small schema unfold for ever; well below the recursion limit

_top = Decoder(dict[str, Raw])
_schema = Decoder(dict[str, Any])

VARIANTS = ("anyOf", "oneOf", "allOf")
BOUNDS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "maxItems", "uniqueItems", "minProperties", "maxProperties", "patternProperties", "propertyNames", "contains",
)  # fmt: skip


def input_schema(schema: Raw) -> tuple[Raw, bool]:
    """A tool's schema as Anthropic takes it, and whether it had to change."""
    if not schema or schema == Raw(b"null") or schema == Raw(b"{}"):
        return EMPTY, False
    top = read(_top, schema, InvalidRequest)
    if top.get("type") == Raw(b'"object"') and top.keys().isdisjoint(VARIANTS):
        return schema, False
    return Raw(encode(_as_object(read(_schema, schema, InvalidRequest)))), True


def _as_object(schema: dict[str, Any]) -> dict[str, Any]:
    """One object that allows whatever any variant allows, and requires only what all of them require."""
    definitions: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    merged = _flat(schema, schema, iter(range(VARIANTS_MAX)))
    merged.setdefault("properties", {})
    return {**merged, "type": "object", **definitions}


def _flat(schema: Any, root: dict[str, Any], left: Iterator[int]) -> dict[str, Any]:
    if next(left, None) is None:
        raise InvalidRequest(f"the schema's root unfolds into more than {VARIANTS_MAX} variants")
    if not isinstance(schema, dict):
        return {}
    if isinstance(reference := schema.get("$ref"), str):
        schema = {**_followed(reference, root), **{k: v for k, v in schema.items() if k != "$ref"}}
        if "$ref" in schema:
            return _flat(schema, root, left)
    flat = {key: value for key, value in schema.items() if key not in VARIANTS}
    for key in VARIANTS:
        variants = [_flat(variant, root, left) for variant in schema.get(key) or () if variant is not False]
        if variants:
            flat = _merge(flat, variants, every=key == "allOf")
    return flat


def _merge(flat: dict[str, Any], variants: list[dict[str, Any]], *, every: bool) -> dict[str, Any]:
    properties = dict(flat.get("properties") or {})
    for variant in variants:
        for name, value in (variant.get("properties") or {}).items():
            properties[name] = value if name not in properties else _either(properties[name], value)
    needed = [set(variant.get("required") or ()) for variant in variants]
    required = set.union(*needed) if every else set.intersection(*needed)
    required |= set(flat.get("required") or ())
    merged = {**flat, "properties": properties}
    if required:
        merged["required"] = sorted(required)
    if any(variant.get("additionalProperties", True) is not False for variant in variants) and not every:
        merged.pop("additionalProperties", None)
    return merged


def _either(one: Any, other: Any) -> Any:
    if one == other:
        return one
    known = one["anyOf"] if isinstance(one, dict) and set(one) == {"anyOf"} else [one]
    return {"anyOf": known if other in known else [*known, other]}


def _followed(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    """A reference into the schema itself; any other is left to the provider's own complaint."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


# ---------------------------------------------------------------- the answer's schema


def answer_schema(schema: Raw) -> tuple[Raw, bool]:
    """Every object closed, bounds moved into the description; and whether that changed what is asked for."""
    tree = read(_schema, schema, InvalidRequest)
    changed: list[str] = []
    closed = _closed(tree, changed, 0)
    return Raw(encode(closed)), bool(changed)


def _closed(node: Any, changed: list[str], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise InvalidRequest(f"the schema is nested deeper than {DEPTH_MAX}", param="response_format")
    if isinstance(node, list):
        return [_closed(item, changed, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _inside(key, value, changed, depth) for key, value in node.items() if key not in BOUNDS}
    if "oneOf" in closed and "anyOf" not in closed:
        closed["anyOf"] = closed.pop("oneOf")
    bounds = [f"{key}: {encode(node[key]).decode()}" for key in BOUNDS if key in node]
    if isinstance(node.get("minItems"), int) and node["minItems"] > 1:
        bounds.append(f"minItems: {node['minItems']}")
        closed["minItems"] = 1
    if bounds:
        changed += bounds
        closed["description"] = f"{node.get('description', '')} ({', '.join(bounds)})".strip()
    if node.get("type") == "object" or "properties" in node:
        closed["additionalProperties"] = False
    return closed


def _inside(key: str, value: Any, changed: list[str], depth: int) -> Any:
    """Names of properties are not keywords, and examples are not schemas."""
    if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
        return {name: _closed(inner, changed, depth + 1) for name, inner in value.items()}
    if key in ("enum", "const", "default", "examples", "required", "description"):
        return value
    return _closed(value, changed, depth + 1)


def is_plain_object(schema: Raw) -> bool:
    """Fit to be a tool's input as it stands."""
    try:
        top = _top.decode(schema)
    except DecodeError:
        return False
    return top.get("type") == Raw(b'"object"') and top.keys().isdisjoint(VARIANTS)
