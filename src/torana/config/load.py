"""From a file to a Config: read, fill, decode, check, and every problem told with its line."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from torana.config import rules
from torana.config.decode import decode
from torana.config.document import NAME_SHOWN_MAX, Place, Table, line_of, parse
from torana.config.references import Problem, fill
from torana.config.shape import Config, Log, Store
from torana.config.snapshot import resolve
from torana.errors import ConfigError
from torana.store import sqlite_path

PROBLEMS_SHOWN_MAX = 20
DEFAULT_NAME = "torana.yaml"
SQLITE = "sqlite:///"

T = TypeVar("T", bound=Struct)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in `path`, or the defaults for None. Relative paths in it start at its own folder.

    Raises ConfigError with every problem and its line.
    """
    if path is None:
        return _anchored(Config(), Path.cwd())
    root = _parse(path)
    config = _decoded(root, Config, path, environ)
    config = _anchored(config, path.absolute().parent)
    _refuse(path, root, rules.problems(config))
    _refuse(path, root, resolve(config, environ).problems)
    return config


def locate(path: Path | None, environ: Mapping[str, str]) -> Store:
    """Where a configuration keeps its data."""
    return _part(path, environ, "store").store


def voice(path: Path | None, environ: Mapping[str, str]) -> Log:
    """How a configuration wants the log, to be known before anything is logged."""
    return _part(path, environ, "log").log


def _part(path: Path | None, environ: Mapping[str, str], section: str) -> Config:
    """Nothing else of the file is read, so the variables of secrets that a person at a terminal does not have are
    not asked for."""
    if path is None:
        return _anchored(Config(), Path.cwd())
    root = _parse(path)
    only = Table(root.line, {name: node for name, node in root.items.items() if name == section}, root.lines)
    config = _decoded(only, Config, path, environ)
    _refuse(path, root, rules.store(config.store))
    return _anchored(config, path.absolute().parent)


def database(store: Store) -> Path | None:
    """The file of a SQLite store; None for one in memory."""
    return sqlite_path(store.url) if store.url.startswith(SQLITE) else None


def folder(store: Store) -> Path:
    """Where the files beside the database are: the run file, the admin token, the generated key."""
    file = database(store)
    return Path.cwd() if file is None else file.absolute().parent


def _parse(path: Path) -> Table:
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; name another with --config") from None
    return parse(text, str(path))


def _decoded(root: Table, kind: type[T], path: Path, environ: Mapping[str, str]) -> T:
    _refuse(path, root, fill(root, environ, path.absolute().parent))
    problems: list[Problem] = []
    value = decode(root, kind, problems)
    _refuse(path, root, problems)
    assert isinstance(value, kind)
    return value


def _anchored(config: Config, base: Path) -> Config:
    store, server = config.store, config.server
    if store.url.startswith(SQLITE):
        store = replace(store, url=SQLITE + str(base / store.url.removeprefix(SQLITE)))
    if server.tls is not None:
        tls = replace(server.tls, cert=str(base / server.tls.cert), key=str(base / server.tls.key))
        server = replace(server, tls=tls)
    return replace(config, store=store, server=server)


def _refuse(path: Path, root: Table, problems: Iterable[Problem]) -> None:
    found = sorted(((line_of(root, place), place, why) for place, why in problems), key=lambda p: p[0])
    if not found:
        return
    lines = [f"line {line}: {_spelled(place)}{why}" for line, place, why in found]
    if len(lines) == 1:
        raise ConfigError(f"{path}, {lines[0]}", param=_spelled(found[0][1]).removesuffix(": ") or None)
    more = len(lines) - PROBLEMS_SHOWN_MAX
    shown = lines[:PROBLEMS_SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])
    raise ConfigError(f"{path} has {len(lines)} problems:\n" + "\n".join(f"  {line}" for line in shown))


def _spelled(place: Place) -> str:
    """keys[0].secret: for people. A long name may be a secret in the wrong place and is cut."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if len(step) <= NAME_SHOWN_MAX else step[:8] + "...")
    return text + ": " if text else ""
