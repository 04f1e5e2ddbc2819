"""Whether a write-ahead log holds more than SQLite will read of it. Reads one file, opens no database.

SQLite reads a log up to the first frame whose checksum is wrong and forgets the rest: right for a torn end, silent
loss for damage in the middle. The two differ: after a torn end no finished transaction follows.
https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path

from torana.errors import StoreError

SCAN_BYTES_MAX = 8 * 1024 * 1024
# The log is kept near 4 MiB (a checkpoint each 1000 pages), which take 0.3 s to check here, and only after a crash:
# a clean stop leaves no log. A longer one, left by a backup that read for long, is SQLite's alone to judge.

_HEADER = struct.Struct(
    ">8I"
)  # magic, version, page size, checkpoints, salt 1, salt 2, checksum 1, checksum 2
_FRAME = struct.Struct(
    ">6I"
)  # page, database pages after a commit else 0, salt 1, salt 2, checksum 1, checksum 2
_MAGIC = 0x377F0682  # the lowest bit says that checksums are over big-endian words
_MASK = 0xFFFFFFFF


def check(path: Path) -> None:
    """Raises StoreError for a log whose header is damaged, or with a finished transaction behind damage."""
    if not path.exists() or not 0 < path.stat().st_size <= SCAN_BYTES_MAX:
        return
    log = path.read_bytes()
    if len(log) < _HEADER.size or not log.strip(b"\0"):
        return  # the process ended, or the power went, before the first header was whole: nothing was committed
    magic, _, page_size, _, *salts, one, two = _HEADER.unpack_from(log)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _checksum(log[:24], order, 0, 0) != (one, two):
        raise _damaged(path, "its header is not one of SQLite's")
    frames = [
        at
        for at in range(_HEADER.size, len(log) - _FRAME.size - page_size + 1, _FRAME.size + page_size)
        if list(_FRAME.unpack_from(log, at)[2:4]) == salts
    ]  # frames with other salts are left over from before the last checkpoint
    for number, at in enumerate(frames):
        one, two = _checksum(log[at : at + 8], order, one, two)
        one, two = _checksum(log[at + _FRAME.size : at + _FRAME.size + page_size], order, one, two)
        if (one, two) != _FRAME.unpack_from(log, at)[4:]:
            if any(_FRAME.unpack_from(log, later)[1] for later in frames[number + 1 :]):
                raise _damaged(
                    path, f"frame {number + 1} of {len(frames)} is damaged and transactions follow it"
                )
            return


def _checksum(data: bytes, order: str, one: int, two: int) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _MASK
        two = (two + odd + one) & _MASK
    return one, two


def _damaged(path: Path, how: str) -> StoreError:
    database = path.with_name(path.name.removesuffix("-wal"))
    return StoreError(
        f"the write-ahead log {path} is damaged: {how}. Restore {database} and its log from a backup; or, to go on "
        f"without what cannot be read, keep a copy of both and run: sqlite3 {database} 'PRAGMA wal_checkpoint(TRUNCATE)'"
    )
