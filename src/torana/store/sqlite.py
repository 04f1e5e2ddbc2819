"""Keys and entries in one SQLite file, through one connection that one thread owns.

SQLite before 3.51.3 can damage a database in WAL mode when two connections write or checkpoint at once
(https://www.sqlite.org/wal.html#walresetbug), so this process never opens a second one: reads wait their turn in
the same thread, behind at most one batch or one short wait for another program's lock. No caller's task touches
the file. Other programs may read the file while it is open here; a backup is `sqlite3 FILE ".backup COPY"`.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from torana.errors import InvalidRequest, NotFound, StoreError
from torana.records import AttemptEntry, CallEntry, Key, Tokens
from torana.store import RECENT_MAX, Batch, Durability, Totals, listing, rows
from torana.store.lock import FileLock
from torana.store.opening import open_file, refusal
from torana.store.transaction import transact

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class SqliteStore:
    """Made by open(). close() waits for what was asked before it and leaves a file without a log beside it."""

    def __init__(self, path: Path, lock: FileLock, connection: sqlite3.Connection) -> None:
        self._lock = lock
        self._thread = Thread(path, connection)
        self.keys = SqliteKeys(self._thread)
        self.entries = SqliteEntries(self._thread)

    @classmethod
    async def open(cls, path: Path, *, durability: Durability = "balanced") -> "SqliteStore":
        """Raises StoreError: another process has the file, or the file is foreign, newer or damaged."""
        return await asyncio.to_thread(cls._open, path, durability)

    @classmethod
    def _open(cls, path: Path, durability: Durability) -> "SqliteStore":
        path = path.resolve()  # one file has one lock, whatever links lead to it
        lock = FileLock(path)
        try:
            return cls(path, lock, open_file(path, durability=durability))
        except BaseException:
            lock.release()
            raise

    async def close(self) -> None:
        await self._thread.close()
        self._lock.release()


class Thread:
    """The one thread that uses the connection."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torana-store")
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        if self._closed:
            raise StoreError(f"{self._path} is closed: the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, work)

    def _run(self, work: Work[T]) -> T:
        try:
            return work(self._connection)
        except sqlite3.Error as exc:
            raise refusal(exc, self._path) from exc

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._connection.close)
        self._executor.shutdown()


# ---------------------------------------------------------------- keys


class SqliteKeys:
    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    async def all(self) -> list[Key]:
        query = f"{rows.select(rows.KEY, 'keys')} ORDER BY created, id"
        return await self._thread.run(lambda db: [rows.key_of(row) for row in db.execute(query)])

    async def add(self, key: Key) -> None:
        await self._thread.run(lambda db: _add(db, key))

    async def revoke(self, id: str, at: int) -> Key:
        return await self._thread.run(lambda db: transact(db, lambda: _revoke(db, id, at)))


def _add(db: sqlite3.Connection, key: Key) -> None:
    marks = ",".join("?" * len(rows.KEY))
    try:
        db.execute(f"INSERT INTO keys ({','.join(rows.KEY)}) VALUES ({marks})", rows.key_row(key))  # noqa: S608  # constants
    except sqlite3.IntegrityError:
        raise InvalidRequest("a key with this id or this secret exists already") from None


def _revoke(db: sqlite3.Connection, id: str, at: int) -> Key:
    db.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked = 0", (at, id))
    row = db.execute(f"{rows.select(rows.KEY, 'keys')} WHERE id = ?", (id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no key with the id {id!r}")
    return rows.key_of(row)


# ---------------------------------------------------------------- entries


class SqliteEntries:
    def __init__(self, thread: Thread) -> None:
        self._thread = thread
        self._unlisted = listing.STEP_ROWS  # the first batch lists what the process before left over

    async def recover(self) -> int:
        return await self._thread.run(lambda db: transact(db, lambda: _recover(db)))

    async def append(self, batch: Batch) -> None:
        await self._thread.run(lambda db: _append(db, batch))
        self._unlisted += len(batch.calls_begun) + len(batch.calls_settled)
        if self._unlisted >= listing.STEP_ROWS:
            await self._thread.run(listing.extend)
            self._unlisted = 0

    async def call(self, id: str) -> CallEntry | None:
        query = f"{rows.select(rows.CALL, 'calls')} WHERE id = ?"
        row = await self._thread.run(lambda db: db.execute(query, (id,)).fetchone())
        return None if row is None else rows.call_entry(row)

    async def attempts(self, call_id: str) -> list[AttemptEntry]:
        query = f"{rows.select(rows.ATTEMPT, 'attempts')} WHERE call_id = ? ORDER BY number"
        found = await self._thread.run(lambda db: db.execute(query, (call_id,)).fetchall())
        return [rows.attempt_entry(row) for row in found]

    async def recent(self, key_id: str = "", *, limit: int = 50, before: str = "") -> list[CallEntry]:
        rows_max = max(0, min(limit, RECENT_MAX))
        return await self._thread.run(lambda db: listing.recent(db, key_id, before, rows_max))

    async def totals(self, key_id: str = "", model: str = "") -> Totals:
        return await self._thread.run(lambda db: _totals(db, key_id, model))


def _recover(db: sqlite3.Connection) -> int:
    """The attempts by way of their calls: an index of unsettled attempts would cost each call 2 us, for one start."""
    db.execute(
        "UPDATE attempts SET error = 'unsettled' WHERE state = 'intent' AND error = '' "
        "AND call_id IN (SELECT id FROM calls WHERE state = 'intent' AND error = '')"
    )
    return db.execute("UPDATE calls SET error = 'unsettled' WHERE state = 'intent' AND error = ''").rowcount


def _append(db: sqlite3.Connection, batch: Batch) -> None:
    """Rows are made here, in the store's thread: a long batch does not hold up the event loop."""
    work = [
        (rows.CALLS_BEGUN, [rows.call_begun_row(entry) for entry in batch.calls_begun.values()]),
        (rows.CALLS_SETTLED, [rows.call_row(entry) for entry in batch.calls_settled.values()]),
        (rows.ATTEMPTS_BEGUN, [rows.attempt_begun_row(entry) for entry in batch.attempts_begun.values()]),
        (rows.ATTEMPTS_SETTLED, [rows.attempt_row(entry) for entry in batch.attempts_settled.values()]),
    ]
    try:
        transact(db, lambda: _insert(db, work))
    except (OverflowError, UnicodeEncodeError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
        # a number over 64 bits, half of a surrogate pair, something that is neither number nor text
        mended = [(insert, [rows.storable(row) for row in found]) for insert, found in work]
        transact(db, lambda: _insert(db, mended))


def _insert(db: sqlite3.Connection, work: list[tuple[rows.Insert, list[rows.Row]]]) -> None:
    for insert, found in work:
        insert.run(db, found)


_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in Tokens.__struct_fields__ if name != "estimated")
_TOTALS = f"""
    SELECT count(*),
           coalesce(sum(state = 'intent'), 0),
           coalesce(sum((SELECT count(*) FROM attempts WHERE call_id = calls.id)), 0),
           coalesce(sum(state <> 'intent' AND cost IS NULL), 0),
           coalesce(sum(cost), 0),
           {_SUMS},
           coalesce(max(estimated), 0)
    FROM calls WHERE (:key_id = '' OR key_id = :key_id) AND (:model = '' OR model = :model)
"""  # noqa: S608  # names of our own columns


def _totals(db: sqlite3.Connection, key_id: str, model: str) -> Totals:
    row = db.execute(_TOTALS, {"key_id": key_id, "model": model}).fetchone()
    calls, intents, attempts, unpriced, cost, *tokens = row
    return Totals(
        calls=calls,
        intents=intents,
        attempts=attempts,
        unpriced=unpriced,
        cost=cost,
        tokens=rows.tokens_of(tokens),
    )
