"""All of it or nothing. What the work is, is not known here."""

from collections.abc import Callable
from sqlite3 import Connection
from typing import TypeVar

T = TypeVar("T")


def transact(connection: Connection, work: Callable[[], T]) -> T:
    """Run the work between BEGIN and COMMIT of a connection in autocommit mode (isolation_level=None)."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures (a full disk) end the transaction themselves
            connection.execute("ROLLBACK")
        raise
    return result
