"""`${NAME}` and `${file:PATH}` in a configuration, so that a secret need not stand in the file itself.

References are filled in values, never in keys, and what was filled in is not read again. `$${` is a literal `${`.
Errors name the variable or the path, never what it holds.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torana.config.document import Node, Place, Scalar, Sequence, Table, shown

SECRET_BYTES_MAX = 65_536  # a PEM chain is a tenth of it

Problem = tuple[Place, str]

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def fill(root: Node, environ: Mapping[str, str], folder: Path) -> list[Problem]:
    """Fill every reference in place. `folder` is what the paths of files are relative to."""
    problems: list[Problem] = []
    for place, scalar in _scalars(root, ()):
        if "${" not in scalar.text or scalar.filled:
            continue
        try:
            text = _REFERENCE.sub(lambda match: _resolve(match, environ, folder), scalar.text)
        except _Unresolved as exc:
            problems.append((place, str(exc)))
        else:
            scalar.text = scalar.value = text
            scalar.filled = True
    return problems


class _Unresolved(Exception):
    """A reference that leads nowhere."""


def _scalars(node: Node, place: Place) -> Iterator[tuple[Place, Scalar]]:
    match node:
        case Scalar():
            yield place, node
        case Sequence():
            for index, item in enumerate(node.items):
                yield from _scalars(item, (*place, index))
        case Table():
            for name, item in node.items.items():
                yield from _scalars(item, (*place, name))


def _resolve(match: re.Match[str], environ: Mapping[str, str], folder: Path) -> str:
    if match.group() == "$${":
        return "${"
    inner = match.group(1)
    if inner is None:
        raise _Unresolved("`${` is not closed; write `$${` if you mean the characters themselves")
    if inner.startswith("file:"):
        return _read(folder / inner.removeprefix("file:"))
    name, alternative, default = inner.partition(":-")
    if not _NAME.fullmatch(name):
        raise _Unresolved(f"{shown(name)} is not the name of an environment variable")
    if value := environ.get(name, ""):
        return value
    if alternative:
        return default
    state = "empty" if name in environ else "not set"
    raise _Unresolved(f"the environment variable {name} is {state}; set it, or write ${{{name}:-default}}")


def _read(path: Path) -> str:
    if "\0" in str(path):
        raise _Unresolved("the path of a file holds a zero byte")
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as exc:
        raise _Unresolved(f"cannot read {path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise _Unresolved(f"{path} is not UTF-8 text") from None
    if len(content) > SECRET_BYTES_MAX:
        raise _Unresolved(f"{path} is larger than {SECRET_BYTES_MAX} bytes")
    if not text:
        raise _Unresolved(f"{path} is empty")
    return text
