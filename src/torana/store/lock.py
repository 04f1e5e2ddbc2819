"""One process owns a database file. The lock is the kernel's, so it ends with its process however that ends.

The lock file beside the database stays when the lock is released: removing it would let two processes lock two
different files of one name. What is written in it only helps the message; the lock alone decides.
"""

import fcntl
import os
from pathlib import Path

from torana.errors import StoreError

PID_BYTES_MAX = 32  # longer than any process id, so that a foreign lock file cannot fill a message


class FileLock:
    """Raises StoreError, naming the process that holds the lock where that is known."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreError(f"the lock file {self._path} cannot be opened: {exc.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except OSError as exc:
            message = self._refusal(database, exc)
            os.close(self._file)
            raise StoreError(message) from None

    def _refusal(self, database: Path, exc: OSError) -> str:
        if not isinstance(exc, BlockingIOError):
            return f"the lock file {self._path} cannot be locked: {exc.strerror}"
        pid = os.pread(self._file, PID_BYTES_MAX, 0).strip()
        holder = f"the process {pid.decode()}" if pid.isdigit() else "another process"
        return (
            f"{holder} has {database} open, and one process owns a database. Stop that process, talk to it "
            "instead, or give this one a different store.url"
        )

    def release(self) -> None:
        """Closing the file releases the lock. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
