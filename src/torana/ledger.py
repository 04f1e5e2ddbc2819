"""What happened, in batches: begin() before a call is sent, settle() after it ended, both plain calls that append.

Intent before, settlement after. A call that begins and settles within one batch is one row written once; any other
has its intent written first and is settled over it. So a crash leaves a flagged intent and nothing invisible. Entries
go to the store LINGER_S after the first of them at the latest: a `kill -9` loses at most the last 50 ms of them,
close() none. That holds while the store takes a batch within the other half of it: a disk whose fsync is slower, or
another program's lock, adds its own time, in which `depth` grows. The ledger does not know who asked or where the
store is.

At the bound (`full`) the gateway refuses new work with Overloaded. begin() and settle() themselves refuse nothing: a
settlement always has a place, and since nothing new begins, calls in flight are all that can exceed the bound.

A store that fails keeps its batch in memory and is tried again until it works; `failing` then says why.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from random import getrandbits

from msgspec import Struct, field, structs

from torana.errors import Error, StoreError
from torana.records import AttemptEntry, CallEntry
from torana.store import Batch, EntryStore

LOSS_S = 0.050  # what `kill -9` may cost, as documented
LINGER_S = 0.025  # half of it: the rest is for the batch's own way to the disk, 1 to 5 ms for 100 calls
QUEUE_ENTRIES_MAX = 50_000
# A call is two entries, so this is 10 s of a locked database at 2,500 calls/s (fault S1), in about 30 MB.
RETRY_FIRST_S = 0.1  # doubled at each failure in a row
RETRY_MAX_S = 2.0  # a disk with room again is noticed well within 5 s (fault S4)
CLOSE_S = 10.0  # how long close() tries a store that fails; within what supervisors leave a process to stop

log = logging.getLogger(__name__)


class Page(Struct, eq=False):
    """A batch and whether it is in the store."""

    batch: Batch = field(default_factory=Batch)
    saved: asyncio.Event = field(default_factory=asyncio.Event)


class Ledger:
    """One per process. open(), begin(), settle() and close() belong to one event loop.

    Plain numbers for whoever counts: `written` entries, `batches`, `failures` of the store, `recovered` calls that
    an earlier process left unsettled, `depth` entries not yet in the store.
    """

    def __init__(
        self,
        entries: EntryStore,
        *,
        linger_s: float = LINGER_S,
        queue_entries_max: int = QUEUE_ENTRIES_MAX,
    ) -> None:
        self._entries = entries
        self._linger_s = linger_s
        self._queue_entries_max = queue_entries_max
        self._next = Page()  # what is appended to
        self._writing: Page | None = None  # what is on its way to the store
        self._timer: asyncio.TimerHandle | None = None  # runs since the first entry of `_next`
        self._due = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: asyncio.Task[None] | None = None
        self.written = self.batches = self.failures = self.recovered = 0
        self.failing = ""

    async def open(self) -> None:
        """Flag what an earlier process left, then write from here on. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self.recovered = await self._entries.recover()
        if self.recovered:
            log.warning(
                "%d calls were in flight when an earlier process ended; they are recorded as unsettled intents",
                self.recovered,
            )
        self._writer = asyncio.create_task(self._write(), name="ledger")

    async def close(self, deadline_s: float = CLOSE_S) -> int:
        """Write everything and stop. Returns how many entries a failing store did not take in time: 0 is usual."""
        try:
            async with asyncio.timeout(deadline_s):
                while self.depth and self._writer is not None:
                    await self.flush()
        except TimeoutError:
            log.critical("%d entries are lost, the store did not take them: %s", self.depth, self.failing)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None
        return self.depth

    # ------------------------------------------------------------ what the gateway says

    def begin(self, call: CallEntry, attempt: AttemptEntry | None = None) -> None:
        """A call was accepted, and perhaps its first attempt is about to be sent. The fields that are known by now
        (those without a default) do not change any more; the others are the caller's until settle()."""
        self._next.batch.calls_begun[call.id] = call
        if attempt is not None:
            self._next.batch.attempts_begun[attempt.call_id, attempt.number] = attempt
        if self._timer is None:
            self._arm()

    def begin_attempt(self, attempt: AttemptEntry) -> None:
        """An attempt is about to be sent."""
        self._next.batch.attempts_begun[attempt.call_id, attempt.number] = attempt
        if self._timer is None:
            self._arm()

    def settle(self, call: CallEntry, attempt: AttemptEntry | None = None) -> None:
        """A call ended, and perhaps its last attempt with it. The entries are the ledger's now. The first settlement
        of an id stands; a call may be settled that never began."""
        batch = self._next.batch
        batch.calls_begun.pop(call.id, None)
        batch.calls_settled.setdefault(call.id, call)
        if attempt is not None:
            self.settle_attempt(attempt)
        if self._timer is None:
            self._arm()

    def settle_attempt(self, attempt: AttemptEntry) -> None:
        """An attempt ended, whatever becomes of its call."""
        batch, place = self._next.batch, (attempt.call_id, attempt.number)
        batch.attempts_begun.pop(place, None)
        batch.attempts_settled.setdefault(place, attempt)
        if self._timer is None:
            self._arm()

    # ------------------------------------------------------------ what others ask

    @property
    def depth(self) -> int:
        """Entries not yet in the store."""
        return len(self._next.batch) + (0 if self._writing is None else len(self._writing.batch))

    @property
    def full(self) -> bool:
        return self.depth >= self._queue_entries_max

    async def find(self, call_id: str) -> CallEntry | None:
        """A copy of the call's entry, written or not. Raises StoreError."""
        for batch in self._pending():
            if call := batch.calls_settled.get(call_id):
                return structs.replace(call)
        for batch in self._pending():
            if call := batch.calls_begun.get(call_id):
                return structs.replace(call, state="intent")
        return await self._entries.call(call_id)

    async def attempts(self, call_id: str) -> list[AttemptEntry]:
        """Copies of the call's attempts, written or not, in order. Raises StoreError."""
        pending = self._pending()
        found = {attempt.number: attempt for attempt in await self._entries.attempts(call_id)}
        for batch in reversed(pending):
            for (id, number), attempt in batch.attempts_begun.items():
                if id == call_id:
                    found.setdefault(number, structs.replace(attempt, state="intent"))
            for (id, number), attempt in batch.attempts_settled.items():
                if id == call_id and (number not in found or found[number].state == "intent"):
                    found[number] = structs.replace(attempt)
        return [found[number] for number in sorted(found)]

    async def flush(self) -> None:
        """Return when all that was appended before is in the store: what `durability: strict` waits for before a
        call is sent, and before its answer is called finished. Raises StoreError if nobody writes."""
        page = self._next if len(self._next.batch) else self._writing
        if page is not None:
            if self._writer is None:
                raise StoreError("the ledger is not open, so entries are not written")
            self._due.set()
            await page.saved.wait()

    # ------------------------------------------------------------ the way to the store

    def _pending(self) -> list[Batch]:
        """Newest first."""
        return [self._next.batch] if self._writing is None else [self._next.batch, self._writing.batch]

    def _arm(self) -> None:
        if self._loop is not None:  # what is appended before open() waits for it
            self._timer = self._loop.call_later(self._linger_s, self._due.set)

    async def _write(self) -> None:
        if len(self._next.batch):
            self._due.set()
        while True:
            await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if len(self._next.batch):
                self._writing, self._next = self._next, Page()
                await self._save(self._writing)
                self._writing.saved.set()
                self._writing = None

    async def _save(self, page: Page) -> None:
        """Until it is in the store."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                await self._entries.append(page.batch)
            except Exception as exc:
                self._note_failure(exc)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                break
        if self.failing:
            log.warning("the store takes entries again; %d are waiting", len(self._next.batch))
            self.failing = ""
        self.written += len(page.batch)
        self.batches += 1

    def _note_failure(self, exc: Exception) -> None:
        """One line per change of state, not per try; a bug of ours with its traceback."""
        self.failures += 1
        reason = str(exc) or type(exc).__name__
        if reason != self.failing:
            log.error("entries wait in memory: %s", reason, exc_info=None if isinstance(exc, Error) else exc)
            self.failing = reason


# ---------------------------------------------------------------- ids

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: https://www.crockford.com/base32.html
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)  # ten bits at a time


def new_call_id(started: int = 0, random: Callable[[int], int] = getrandbits) -> str:
    """26 characters: 10 of the millisecond of `started` (microseconds since 1970, 0 for now) in base 32, 16 random ones in base 16. The
    order of ids is the order of time, and an id is no secret: a call is shown to the key that made it."""
    pairs, ms = _PAIRS, (started or time.time_ns() // 1000) // 1000
    return (
        f"{pairs[ms >> 40 & 1023]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}{pairs[ms >> 10 & 1023]}"
        f"{pairs[ms & 1023]}{random(64):016X}"
    )
