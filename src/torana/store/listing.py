"""Calls newest first, of everyone or of one key.

The order of ids is the order of time, so everyone's list is the primary key of `calls` read backwards. A key's list
is `calls_by_key`, which extend() fills some thousand rows at a time in sorted order, so that each of its pages is
written once per step and not once per call; the rows not yet in it are read from the end of `calls`.
"""

from sqlite3 import Connection

from torana.records import CallEntry
from torana.store import rows
from torana.store.transaction import transact

STEP_ROWS = 4096  # about 10 ms of the writing thread per step, 1 ms for a reader of the rows not yet listed

_COLUMNS = rows.select(rows.CALL, "calls")
_LAST = "\U0010ffff"  # behind every id
_OF_ALL = f"{_COLUMNS} WHERE id < :before ORDER BY id DESC LIMIT :rows_max"
_OF_KEY = f"""{_COLUMNS} WHERE id IN (
    SELECT id FROM (
        SELECT id FROM calls_by_key WHERE key_id = :key_id AND id < :before ORDER BY id DESC LIMIT :rows_max
    )
    UNION
    SELECT id FROM calls
    WHERE rowid > (SELECT upto FROM listed) AND key_id = :key_id AND id < :before
) ORDER BY id DESC LIMIT :rows_max"""  # noqa: S608  # names of our own columns


def recent(db: Connection, key_id: str, before: str, rows_max: int) -> list[CallEntry]:
    """At most `rows_max`, from before the id `before` ("" for the newest), of one key or with "" of all."""
    query = _OF_KEY if key_id else _OF_ALL
    values = {"key_id": key_id, "before": before or _LAST, "rows_max": rows_max}
    return [rows.call_entry(row) for row in db.execute(query, values)]


def extend(db: Connection) -> None:
    """List what is not listed yet."""
    transact(db, lambda: _extend(db))


def _extend(db: Connection) -> None:
    newest = db.execute("SELECT coalesce(max(rowid), 0) FROM calls").fetchone()[0]
    upto = db.execute("SELECT upto FROM listed").fetchone()[0]
    if newest < upto:
        upto = 0  # the rows at the end were deleted and their numbers will be given again
    db.execute(
        "INSERT OR IGNORE INTO calls_by_key SELECT key_id, id FROM calls WHERE rowid > ? AND rowid <= ? "
        "AND key_id IS NOT NULL ORDER BY key_id, id",
        (upto, newest),
    )
    db.execute("UPDATE listed SET upto = ?", (newest,))
