"""The shape of the database, as numbered SQL files applied in order: 0001_first.sql, 0002_....sql.

Each step runs in one transaction together with the number that records it (PRAGMA user_version), so a process
killed at any statement leaves the step whole or not begun. Steps are SQLite's own SQL and few: yoyo-migrations and
Alembic were considered and would bring six and more packages for what fits on this page.

A step keeps the release before it working: it adds, and a column goes one release after its last reader.
"""

import re
import sqlite3
from collections.abc import Sequence
from functools import partial
from importlib import resources

from msgspec import Struct

from torana.errors import StoreError
from torana.store.transaction import transact

APPLICATION_ID = 0x546F7261  # "Tora"; says in bytes 68..71 of the file whose it is
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Step(Struct, frozen=True):
    number: int
    statements: tuple[str, ...]


def steps() -> tuple[Step, ...]:
    """The steps shipped in the package, numbered from 1 without a gap."""
    found = [
        Step(int(name[1]), split(file.read_text(encoding="utf-8")))
        for file in resources.files(__name__).iterdir()
        if (name := _NAME.fullmatch(file.name))
    ]
    found.sort(key=lambda step: step.number)
    assert [step.number for step in found] == list(range(1, len(found) + 1))
    return tuple(found)


def split(script: str) -> tuple[str, ...]:
    """The statements of a script. SQLite itself says where one ends, so a `;` in a string or trigger is no end."""
    statements, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text.strip())
            text = ""
    if text.strip() and not all(line.lstrip().startswith("--") for line in text.splitlines() if line.strip()):
        raise StoreError(f"a migration ends in the middle of a statement: {text.strip()[:80]!r}")
    return tuple(statements)


def version(connection: sqlite3.Connection) -> int:
    """The number of the last step applied; 0 for an empty file."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def apply(connection: sqlite3.Connection, todo: Sequence[Step]) -> None:
    """Apply the steps the file has not seen. The connection is in autocommit mode (isolation_level=None)."""
    for step in todo:
        transact(connection, partial(_apply, connection, step))


def _apply(connection: sqlite3.Connection, step: Step) -> None:
    if version(connection) >= step.number:
        return
    for statement in step.statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {step.number}")
