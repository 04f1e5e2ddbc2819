"""Opens a database file, or says in a sentence why not. Whether the file is ours and whole is decided before
anything is written to it: a file that is not ours is never changed, one that is damaged never replaced.
"""

import os
import sqlite3
from pathlib import Path

from torana.errors import StoreError
from torana.store import Durability, migrations, wal

SQLITE_MIN = (3, 32, 0)  # upsert, and statements of more than 999 values
LOCKED_AT_START_S = 5.0  # how long another program's lock is waited for before the start is given up
LOCKED_S = 0.25  # and later: short, because the writing thread answers reads between two tries
CHECKPOINT_PAGES = 1000  # SQLite's own default; 4000 measured no cheaper
CACHE_KIB = 8192  # the pages that batches touch, with room; memory is only taken as it fills
QUICK_CHECK_BYTES_MAX = 64 * 1024 * 1024
# A check reads the whole file, about 0.3 s for 64 MiB; a larger one would break the promise of a quick start, and
# SQLite notices damage where it reads it. `full=True` checks any size.

_TABLES = frozenset({"keys", "calls", "calls_by_key", "listed", "attempts"})
_MAGIC = b"SQLite format 3\0"
_SYNCHRONOUS: dict[Durability, str] = {"balanced": "NORMAL", "strict": "FULL"}


def open_file(path: Path, *, durability: Durability = "balanced", full: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode to a file of the newest shape, made if it does not exist. The caller holds the
    file's lock. Raises StoreError."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: Torana needs 3.32 or newer")
    try:
        os.close(
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        )  # digests and metadata: ours alone
        _refuse_foreign_head(path)
        wal.check(path.with_name(path.name + "-wal"))
        connection = sqlite3.connect(
            path, timeout=LOCKED_AT_START_S, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as exc:
        raise refusal(exc, path) from None
    try:
        _prepare(connection, path, durability, full=full)
    except BaseException as exc:
        connection.close()
        if isinstance(exc, sqlite3.Error):
            raise refusal(exc, path) from None
        raise
    return connection


def _refuse_foreign_head(path: Path) -> None:
    """From the file's first bytes, before SQLite sees it: opening another program's database could already move
    that program's log into it. A file under a hot journal says nothing certain yet."""
    with path.open("rb") as file:
        head = file.read(100)
    if not head or path.with_name(path.name + "-journal").exists():
        return
    if not head.startswith(_MAGIC):
        raise StoreError(f"{path} is not a SQLite database; it was left as it is. Choose another store.url")
    if int.from_bytes(head[68:72]) not in (0, migrations.APPLICATION_ID):
        raise _foreign(path)


def _foreign(path: Path) -> StoreError:
    return StoreError(
        f"{path} is another program's database; it was left as it is. Choose another store.url, or restore "
        "Torana's own file there"
    )


def _prepare(connection: sqlite3.Connection, path: Path, durability: Durability, *, full: bool) -> None:
    known = migrations.steps()
    _refuse_foreign(connection, path, known[-1].number)
    _refuse_damaged(connection, path, full=full)
    migrations.apply(connection, known)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreError(
            f"{path} is on a file system without shared memory: put the database on a local disk"
        )
    for setting in (
        f"synchronous = {_SYNCHRONOUS[durability]}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"cache_size = -{CACHE_KIB}",
        f"busy_timeout = {round(LOCKED_S * 1000)}",
        "secure_delete = OFF",  # nothing is deleted on the path, and zeroing the intents' index costs pages
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {setting}")


def _refuse_foreign(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    number = migrations.version(connection)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application == 0 and number == 0 and not tables:
        return  # new, or a start was interrupted before the first step
    if application != migrations.APPLICATION_ID or not tables >= _TABLES:
        raise _foreign(path)
    if number > newest:
        raise StoreError(
            f"{path} was written by a newer Torana: its schema is number {number}, this version knows {newest}. "
            "Run that version or a later one, or restore a backup from before"
        )


def _refuse_damaged(connection: sqlite3.Connection, path: Path, *, full: bool) -> None:
    if path.stat().st_size > QUICK_CHECK_BYTES_MAX and not full:
        return
    found = connection.execute(f"PRAGMA {'integrity_check' if full else 'quick_check'}(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)


def damaged(path: Path, how: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({how}); it was left as it is. Restore a backup, or keep a copy and save what can be "
        f"read with: sqlite3 {path} .recover"
    )


def refusal(exc: OSError | sqlite3.Error, path: Path) -> StoreError:
    """A failure of the file, as a sentence about the file. Result codes: https://www.sqlite.org/rescode.html"""
    if isinstance(exc, OSError):
        return StoreError(f"{path} cannot be opened: {exc.strerror}")
    name = getattr(exc, "sqlite_errorname", "")
    kind = "_".join(name.split("_")[:2])
    if kind in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return StoreError(
            f"another program holds a lock on {path}; what is waiting is written when it lets go"
        )
    if kind == "SQLITE_FULL":
        return StoreError(f"no space is left for {path}; what is waiting is written when there is")
    if kind == "SQLITE_IOERR":
        return StoreError(f"the disk of {path} reports an error ({name}); writing is tried again")
    if kind == "SQLITE_READONLY":
        return StoreError(f"{path} cannot be written: the file, its directory or its disk is read-only")
    if kind == "SQLITE_CANTOPEN":
        return StoreError(f"{path} cannot be opened: is its directory there, and writable?")
    if kind in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
        return damaged(path, str(exc))
    return StoreError(f"the database {path} refused: {exc} ({name or type(exc).__name__})")
