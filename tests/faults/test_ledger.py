"""The ledger in one process: what it promises of order, bounds and a store that fails. Fault rows S1, S4, A2, A4."""

import asyncio
import logging
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from torana.errors import StoreError
from torana.ledger import LINGER_S, LOSS_S, Ledger, new_call_id
from torana.records import AttemptEntry, CallEntry
from torana.store import Batch, open_store
from torana.store.memory import MemoryStore
from torana.store.sqlite import SqliteStore

WAIT_S = 30  # a bound on waiting for what must come; reached only when it is broken


def a_call(id: str, key_id: str = "key_1") -> CallEntry:
    return CallEntry(id, key_id, "openai_chat", "gpt-4o", False, 1_000)


def an_attempt(call_id: str, number: int = 1) -> AttemptEntry:
    return AttemptEntry(call_id, number, "openai", "gpt-4o", 1_001)


def end(entry: CallEntry | AttemptEntry, state: str = "ok") -> CallEntry | AttemptEntry:
    entry.state, entry.status = state, 200
    return entry


class Watched:
    """A real store whose batches are noted, and which fails or waits when told to."""

    def __init__(self) -> None:
        self.entries = MemoryStore().entries
        self.batches: list[Batch] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> object:
        return getattr(self.entries, name)

    async def append(self, batch: Batch) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.batches.append(batch)
        await self.entries.append(batch)


def told(story: Callable[[Ledger, Watched], Awaitable[object]], **settings: object) -> object:
    async def run() -> object:
        store = Watched()
        ledger = Ledger(store, **settings)
        await ledger.open()
        async with asyncio.timeout(WAIT_S):
            result = await story(ledger, store)
            store.failure = None
            store.gate.set()
            await ledger.close()
        return result

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # nothing here tells when it changes
        await asyncio.sleep(0.005)


# ---------------------------------------------------------------- intent before, settlement after


def test_a_call_that_ends_within_a_batch_is_written_once_and_whole():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        call, attempt = a_call("c1"), an_attempt("c1")
        ledger.begin(call, attempt)
        ledger.settle(end(call), end(attempt))
        await ledger.flush()
        return [[len(batch) for batch in store.batches], (await store.call("c1")).state, ledger.written]

    assert told(story) == [[2], "ok", 2]


def test_a_call_that_lasts_is_an_intent_until_it_is_settled():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        call, attempt = a_call("c1"), an_attempt("c1")
        ledger.begin(call, attempt)
        await ledger.flush()
        before = [(await store.call("c1")).state, [a.state for a in await store.attempts("c1")]]
        ledger.settle(end(call, "incomplete"), end(attempt, "error"))
        await ledger.flush()
        return [*before, (await store.call("c1")).state, [a.state for a in await store.attempts("c1")]]

    assert told(story) == ["intent", ["intent"], "incomplete", ["error"]]


def test_entries_are_written_without_being_asked_for():
    async def story(ledger: Ledger, store: Watched) -> int:
        ledger.begin(a_call("c1"))
        await until(lambda: ledger.depth == 0)
        return len(store.batches)

    assert told(story) == 1


def test_the_linger_leaves_room_for_the_way_to_the_disk_within_the_documented_loss():
    assert LINGER_S <= LOSS_S / 2


def test_every_attempt_of_a_call_has_its_entry():
    async def story(ledger: Ledger, store: Watched) -> list[tuple[int, str]]:
        call, first, second, third = a_call("c1"), *(an_attempt("c1", n) for n in (1, 2, 3))
        ledger.begin(call, first)
        ledger.settle_attempt(end(first, "error"))
        ledger.begin_attempt(second)
        await ledger.flush()
        ledger.settle_attempt(end(second, "error"))
        ledger.begin_attempt(third)
        ledger.settle(end(call), end(third))
        await ledger.flush()
        return [(attempt.number, attempt.state) for attempt in await store.attempts("c1")]

    assert told(story) == [(1, "error"), (2, "error"), (3, "ok")]


def test_the_first_settlement_stands_within_a_batch_and_across():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        for again in ("cancelled", "ok"):
            ledger.begin(a_call("c1"))
            ledger.settle(end(a_call("c1"), again), end(an_attempt("c1"), again))
        await ledger.flush()
        ledger.settle(end(a_call("c1"), "error"), end(an_attempt("c1"), "error"))
        ledger.begin(a_call("c1"), an_attempt("c1"))
        await ledger.flush()
        return [
            (await store.call("c1")).state,
            [a.state for a in await store.attempts("c1")],
            (await store.totals()).calls,
        ]

    assert told(story) == ["cancelled", ["cancelled"], 1]


def test_a_call_may_be_settled_that_never_began():
    async def story(ledger: Ledger, store: Watched) -> str:
        ledger.settle(end(a_call("c1"), "error"))
        await ledger.flush()
        return (await store.call("c1")).state

    assert told(story) == "error"


def test_what_is_appended_before_the_ledger_is_open_is_written_when_it_is():
    async def run() -> list[object]:
        store = MemoryStore()
        ledger = Ledger(store.entries)
        ledger.begin(a_call("c1"))
        with pytest.raises(StoreError, match="not open"):
            await ledger.flush()
        await ledger.open()
        await ledger.flush()
        await ledger.close()
        return [(await store.entries.totals()).calls, ledger.depth]

    assert asyncio.run(run()) == [1, 0]


# ---------------------------------------------------------------- looking


def test_a_call_is_found_whether_it_waits_is_being_written_or_is_written():
    async def story(ledger: Ledger, store: Watched) -> list[str]:
        call, attempt = a_call("c1"), an_attempt("c1")
        states = []

        async def look() -> None:
            found = await ledger.find("c1")
            states.append(f"{found.state} {[a.state for a in await ledger.attempts('c1')]}")

        ledger.begin(call, attempt)
        await look()
        store.gate.clear()
        await until(lambda: ledger._writing is not None)
        await look()
        ledger.settle(end(call), end(attempt))
        await look()
        store.gate.set()
        await ledger.flush()
        await look()
        return states

    assert told(story) == ["intent ['intent']", "intent ['intent']", "ok ['ok']", "ok ['ok']"]


def test_a_call_in_flight_is_an_intent_however_far_its_entry_is_filled_in():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        call, attempt = a_call("c1"), an_attempt("c1")
        ledger.begin(call, attempt)
        end(call)
        end(attempt)
        found = await ledger.find("c1")
        found.error = "changed by the reader"
        return [found.state, (await ledger.attempts("c1"))[0].state, call.error]

    assert told(story) == ["intent", "intent", ""]


def test_what_never_began_is_not_found():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        return [await ledger.find("c9"), await ledger.attempts("c9")]

    assert told(story) == [None, []]


# ---------------------------------------------------------------- bounds and failures


def test_at_its_bound_the_ledger_is_full_and_still_takes_settlements():
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        store.gate.clear()
        calls = [a_call(f"c{n}") for n in range(10)]
        fullness = []
        for call in calls:
            fullness.append(ledger.full)
            ledger.begin(call)
        await until(lambda: ledger._writing is not None)
        for call in calls:
            ledger.settle(end(call))
        depth, full = ledger.depth, ledger.full
        store.gate.set()
        await ledger.flush()
        totals = await store.totals()
        return [fullness, depth, full, ledger.full, totals.calls, totals.intents]

    assert told(story, queue_entries_max=8) == [[False] * 8 + [True] * 2, 20, True, False, 10, 0]


def test_a_failing_store_keeps_its_entries_waiting_and_is_tried_again(caplog):
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        store.failure = StoreError("no space is left")
        ledger.settle(end(a_call("c1")))
        await until(lambda: ledger.failures >= 2)
        ledger.settle(end(a_call("c2")))
        during = [ledger.failing, ledger.depth, ledger.written]
        store.failure = None
        await ledger.flush()
        return [*during, ledger.failing, ledger.depth, ledger.written]

    with caplog.at_level(logging.WARNING, logger="torana"):
        assert told(story) == ["no space is left", 2, 0, "", 0, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "entries wait in memory: no space is left",
        "the store takes entries again; 1 are waiting",
    ]


def test_a_bug_in_the_store_is_logged_with_its_traceback_and_loses_nothing(caplog):
    async def story(ledger: Ledger, store: Watched) -> list[object]:
        store.failure = KeyError("a bug")
        ledger.settle(end(a_call("c1")))
        await until(lambda: ledger.failures >= 1)
        store.failure = None
        await ledger.flush()
        return [ledger.written]

    with caplog.at_level(logging.ERROR, logger="torana"):
        assert told(story) == [1]
    assert caplog.records[0].exc_info is not None


def test_closing_with_a_store_that_fails_ends_in_time_and_says_what_is_lost(caplog):
    async def run() -> list[int]:
        store = Watched()
        store.failure = StoreError("no space is left")
        ledger = Ledger(store)
        await ledger.open()
        ledger.settle(end(a_call("c1")), end(an_attempt("c1")))
        return [await ledger.close(deadline_s=0.1), len(store.batches)]

    with caplog.at_level(logging.CRITICAL, logger="torana"):
        assert asyncio.run(run()) == [2, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "2 entries are lost, the store did not take them: no space is left"
    ]


# ---------------------------------------------------------------- a real file that cannot be written


def test_another_programs_lock_makes_entries_wait_and_no_reader(tmp_path):
    """S1. The lock is held until the ledger has noticed it, however long that takes."""

    async def run() -> list[object]:
        store = await SqliteStore.open(tmp_path / "torana.db")
        ledger = Ledger(store.entries)
        await ledger.open()
        ledger.settle(end(a_call("c0")))
        await ledger.flush()
        other = sqlite3.connect(tmp_path / "torana.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for n in range(1, 100):
            ledger.begin(a_call(f"c{n}"))
            ledger.settle(end(a_call(f"c{n}")))
        await until(lambda: ledger.failures >= 2)
        during = [
            (await ledger.find("c99")).state,
            (await ledger.find("c0")).state,
            await store.entries.call("c99"),
            "another program holds a lock" in ledger.failing,
        ]
        other.execute("ROLLBACK")
        other.close()
        await ledger.flush()
        totals = await store.entries.totals()
        await ledger.close()
        await store.close()
        return [*during, totals.calls, totals.intents, ledger.failing]

    assert asyncio.run(run()) == ["ok", "ok", None, True, 100, 0, ""]


FILE_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from test_ledger import a_call, end, until
from torana.ledger import Ledger
from torana.store.sqlite import SqliteStore

async def run():
    store = await SqliteStore.open(Path(sys.argv[1]))
    ledger = Ledger(store.entries)
    await ledger.open()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    count = 0
    while not ledger.failing:
        for _ in range(100):
            ledger.begin(a_call(f"c{count}"))
            ledger.settle(end(a_call(f"c{count}")))
            count += 1
        await asyncio.sleep(0.03)
    reason = ledger.failing
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await ledger.flush()
    totals = await store.entries.totals()
    print(totals.calls == count > 0, totals.intents, repr(ledger.failing), reason)
    await ledger.close()
    await store.close()

asyncio.run(asyncio.wait_for(run(), 30))
"""


def test_a_file_that_may_not_grow_stops_no_call_and_is_written_when_it_may(tmp_path):
    """S4, by a limit of the kernel: every write beyond it fails."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the file size limit of this session cannot be raised again")
    ended = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(tmp_path / "torana.db"), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=2 * WAIT_S,
    )
    assert (ended.returncode, ended.stdout.split()[:3]) == (0, ["True", "0", "''"]), ended.stderr
    assert "reports an error (SQLITE_IOERR_WRITE)" in ended.stdout


def test_a_full_disk_stops_no_call_and_is_written_when_there_is_room(tmp_path):
    """S4, on a file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, timeout=WAIT_S
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")

    async def run() -> list[object]:
        store = await SqliteStore.open(disk / "torana.db")
        ledger = Ledger(store.entries)
        await ledger.open()
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * 1_200_000)
        count = 0
        while not ledger.failing:
            for _ in range(100):
                ledger.settle(end(a_call(f"c{count}")))
                count += 1
            await asyncio.sleep(0.03)
        reason = ledger.failing
        ballast.unlink()
        await ledger.flush()
        totals = await store.entries.totals()
        await ledger.close()
        await store.close()
        return ["no space is left" in reason, totals.calls == count, ledger.failing]

    try:
        assert asyncio.run(asyncio.wait_for(run(), WAIT_S)) == [True, True, ""]
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=WAIT_S)


# ---------------------------------------------------------------- ids


def test_an_id_is_26_characters_that_carry_their_millisecond():
    assert new_call_id(1_469_918_176_385_000, lambda bits: 0) == "01ARYZ6S41" + "0" * 16
    assert new_call_id(1_469_918_176_385_999, lambda bits: 2**bits - 1) == "01ARYZ6S41" + "F" * 16


def test_the_order_of_ids_is_the_order_of_time():
    times = [1, 999_999, 1_000_000, 2**40, 1_700_000_000_000_000, 1_700_000_000_001_000, 2**57]
    ids = [new_call_id(time) for time in times]
    assert ids[1:] == sorted(ids[1:])
    assert ids[0][:10] == "0" * 10


def test_ids_of_one_moment_differ():
    assert len({new_call_id(1_700_000_000_000_000) for _ in range(10_000)}) == 10_000


def test_an_id_without_a_time_is_of_now():
    earlier = new_call_id()
    assert new_call_id()[:8] >= earlier[:8]


# ---------------------------------------------------------------- what a crash left


def test_what_an_earlier_process_left_is_flagged_and_counted_once(tmp_path, caplog):
    async def run(url: str) -> list[int]:
        counts = []
        for start in range(3):
            store = await open_store(url)
            ledger = Ledger(store.entries)
            await ledger.open()
            counts.append(ledger.recovered)
            if start == 0:
                for n in range(5):
                    ledger.begin(a_call(f"c{n}"), an_attempt(f"c{n}"))
                ledger.settle(end(a_call("c4")), end(an_attempt("c4")))
            await ledger.close()
            call = await store.entries.call("c0")
            attempt = (await store.entries.attempts("c0"))[0]
            counts.append((call.state, call.error, attempt.state, attempt.error))
            await store.close()
        return counts

    with caplog.at_level(logging.WARNING, logger="torana"):
        found = asyncio.run(run(f"sqlite:///{tmp_path}/torana.db"))
    flagged = ("intent", "unsettled", "intent", "unsettled")
    assert found == [0, ("intent", "", "intent", ""), 4, flagged, 0, flagged]
    assert [record.getMessage()[:22] for record in caplog.records] == ["4 calls were in flight"]


def test_a_flagged_intent_can_still_be_settled(tmp_path):
    async def run() -> list[object]:
        store = await SqliteStore.open(tmp_path / "torana.db")
        await store.entries.append(Batch(calls_begun={"c1": a_call("c1")}))
        recovered = await store.entries.recover()
        await store.entries.append(Batch(calls_settled={"c1": end(a_call("c1"))}))
        call = await store.entries.call("c1")
        await store.close()
        return [recovered, call.state, call.error]

    assert asyncio.run(run()) == [1, "ok", ""]
