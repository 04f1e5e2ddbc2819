"""Notice that a file changed. Knows nothing of what it holds.

Polling a stat a second costs nothing measurable, and works where change events do not: network file systems,
bind mounts, and the symbolic links that orchestrators swap.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from torana.errors import Error

PERIOD_S = 1.0

Sight = tuple[int, int, int]  # modification time in ns, size, inode; all 0 for a file that is not there
_log = logging.getLogger("torana.config")


def sight(path: Path) -> Sight:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


async def watch(
    path: Path,
    on_change: Callable[[], Awaitable[None]],
    *,
    period_s: float = PERIOD_S,
    seen: Sight | None = None,
) -> None:
    """Call `on_change` for every change of `path`, until cancelled. `seen` is the sight of the file that was loaded,
    so that a change between load and watch is not missed.

    A change is taken up once two looks agree, so a file still being written is left alone. A file that is gone
    changes nothing. An Error of `on_change` is one line in the log: what was in force stays in force.
    """
    taken = sight(path) if seen is None else seen
    before = taken
    while True:
        await asyncio.sleep(period_s)
        now = sight(path)
        if now == before and now not in (taken, (0, 0, 0)):
            taken = now
            try:
                await on_change()
            except Error as exc:
                _log.error("%s is not used, the configuration in force stays: %s", path.name, exc)
            except Exception:
                _log.exception("%s is not used, the configuration in force stays: a bug of ours", path.name)
        before = now
