"""Values of a document as the types that are asked for, strictly, with every problem found in one pass.

msgspec can do this too, but its errors name neither line nor the key of a mapping, stop at the first, and repeat
values. It still decides each scalar. Problems speak of types and of our own names, never of the values they found.
"""

import types
from collections.abc import Iterable
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType

from torana.config.document import Node, Place, Scalar, Sequence, Table, shown
from torana.config.references import Problem
from torana.config.secret import Secret


class _Missing:
    """Stands for a value that had a problem; what holds it is not built."""


_MISSING = _Missing()


def decode(node: Node, hint: Any, problems: list[Problem], place: Place = ()) -> Any:
    """The value of type `hint` (an annotation of a Struct's field), or None with something in `problems`."""
    value = _decode(node, hint, problems, place)
    return None if value is _MISSING else value


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence's end: the closest of our names, or all of them if they are few."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"closest: {close[0]!r}"
    return "known: " + ", ".join(known) if len(known) <= 24 else f"none of {len(known)} known names is close"


def _decode(node: Node, hint: Any, problems: list[Problem], place: Place) -> Any:
    kind = _plain(hint)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(node, hint, problems, place)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _struct(node, kind, problems, place)
    if kind is object:
        return _anything(node)
    if origin is dict:
        return _dict(node, get_args(kind)[1], problems, place)
    if origin in (list, tuple):
        return _list(node, hint, problems, place)
    if origin is Literal:
        return _word(node, get_args(kind), problems, place)
    return _leaf(node, hint, problems, place)


def _plain(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _union(node: Node, hint: Any, problems: list[Problem], place: Place) -> Any:
    """`X | None`, `X | UnsetType`, or a choice between a text and a mapping."""
    kinds = [kind for kind in get_args(_plain(hint)) if kind is not UnsetType]
    null = isinstance(node, Scalar) and node.value is None
    if null and types.NoneType in kinds:
        return None
    kinds = [kind for kind in kinds if kind is not types.NoneType]
    if len(kinds) > 1:
        kinds = [kind for kind in kinds if isinstance(node, Scalar) == (_plain(kind) is str)] or kinds
    return _decode(node, kinds[0], problems, place)


def _struct(node: Node, kind: type[Struct], problems: list[Problem], place: Place) -> Any:
    if isinstance(node, Scalar) and node.value is None:
        node = Table(node.line, {}, {})  # a section whose lines are all commented out
    if not isinstance(node, Table):
        return _refuse(problems, place, "expected `name: value` lines")
    hints, required = _fields(kind)
    values: dict[str, Any] = {}
    for name, item in node.items.items():
        if name not in hints:
            problems.append(((*place, name), f"unknown key {shown(name)}; {nearest(name, hints)}"))
        else:
            values[name] = _decode(item, hints[name], problems, (*place, name))
    missing = sorted(required - node.items.keys())
    problems += [(place, f"the key {name!r} is missing") for name in missing]
    if required - values.keys() or any(value is _MISSING for value in values.values()):
        return _MISSING
    return kind(**values)


@cache
def _fields(kind: type[Struct]) -> tuple[dict[str, Any], frozenset[str]]:
    """The annotations of a Struct, and the names that have no default."""
    required = frozenset(field.name for field in msgspec.structs.fields(kind) if field.required)
    return get_type_hints(kind, include_extras=True), required


def _dict(node: Node, item_hint: Any, problems: list[Problem], place: Place) -> Any:
    if isinstance(node, Scalar) and node.value is None:
        return {}
    if not isinstance(node, Table):
        return _refuse(problems, place, "expected `name: value` lines")
    values = {name: _decode(item, item_hint, problems, (*place, name)) for name, item in node.items.items()}
    return {name: value for name, value in values.items() if value is not _MISSING}


def _list(node: Node, hint: Any, problems: list[Problem], place: Place) -> Any:
    kind = _plain(hint)
    if isinstance(node, Scalar) and node.value is None:
        node = Sequence(node.line, [])
    if not isinstance(node, Sequence):
        return _refuse(problems, place, "expected a list: `- item` lines, or [a, b]")
    for meta in getattr(hint, "__metadata__", ()):
        if not (meta.min_length or 0) <= len(node.items) <= (meta.max_length or len(node.items)):
            return _refuse(problems, place, f"expected {meta.min_length or 0} to {meta.max_length} items")
    item_hint = get_args(kind)[0]
    items = [_decode(item, item_hint, problems, (*place, index)) for index, item in enumerate(node.items)]
    return get_origin(kind)(item for item in items if item is not _MISSING)


def _word(node: Node, words: tuple[Any, ...], problems: list[Problem], place: Place) -> Any:
    if isinstance(node, Scalar) and node.text in words:
        return node.text
    return _refuse(problems, place, "expected one of " + ", ".join(map(repr, words)))


def _anything(node: Node) -> Any:
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [_anything(item) for item in node.items]
        case Table():
            return {name: _anything(item) for name, item in node.items.items()}


def _leaf(node: Node, hint: Any, problems: list[Problem], place: Place) -> Any:
    kind = _plain(hint)
    if not isinstance(node, Scalar):
        return _refuse(problems, place, f"expected {_NAMES[kind]}, got {_found(node)}")
    value = node.text if node.filled and kind in (str, Secret) else node.value
    if kind in (str, Secret) and isinstance(value, bool | int | float):
        return _refuse(problems, place, f"expected {_NAMES[kind]}, got {_found(node)}; put it in quotes")
    target = Annotated[(str, *hint.__metadata__)] if kind is Secret and hint is not kind else hint
    target = str if target is Secret else target
    try:
        found = msgspec.convert(value, target, strict=not node.filled)
    except msgspec.ValidationError:
        return _refuse(problems, place, _reason(node, hint))
    return Secret(found) if kind is Secret else found


def _reason(node: Scalar, hint: Any) -> str:
    """msgspec's own sentences hold values: ours hold the bounds."""
    kind = _plain(hint)
    try:
        msgspec.convert(node.value, str if kind is Secret else kind, strict=not node.filled)
    except msgspec.ValidationError:
        return f"expected {_NAMES[kind]}, got {'something else' if node.filled else _found(node)}"
    return f"expected {_NAMES[kind]} {_bounds(hint)}"


def _bounds(hint: Any) -> str:
    """'from 0 to 65535', 'of 1 to 64 characters': what the Meta of an annotation asks for."""
    said = []
    for meta in getattr(hint, "__metadata__", ()):
        said += [f"above {meta.gt}"] if meta.gt is not None else []
        said += [f"from {meta.ge}"] if meta.ge is not None else []
        said += [f"up to {meta.le}"] if meta.le is not None else []
        said += [f"of {meta.min_length} or more"] if meta.min_length is not None else []
        said += [f"of {meta.max_length} or fewer characters"] if meta.max_length is not None else []
        said += [f"matching {meta.pattern}"] if meta.pattern is not None else []
    return ", ".join(said)


_NAMES = {
    str: "a text", Secret: "a text", int: "a whole number", float: "a number", bool: "true or false",
    Decimal: "a number",
}  # fmt: skip


def _found(node: Node) -> str:
    match node:
        case Table():
            return "`name: value` lines"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return "true or false"
        case Scalar(value=int() | float()):
            return "a number"
        case _:
            return "a text"


def _refuse(problems: list[Problem], place: Place, why: str) -> _Missing:
    problems.append((place, why))
    return _MISSING


def given(row: Struct) -> dict[str, Any]:
    """The fields that were written, of a row whose fields are all optional."""
    pairs = ((name, getattr(row, name)) for name in row.__struct_fields__)
    return {name: value for name, value in pairs if value is not UNSET}
