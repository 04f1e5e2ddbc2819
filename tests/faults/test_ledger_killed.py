"""A process that writes entries is killed; what it had said is compared with what is in its file. Fault row P4.

The process notes each thing it does in a file of its own, in the order it does it, so that what may be missing
follows from that order and from its own clock. Nothing here depends on how fast the machine is.
"""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop
from msgspec import Struct

from torana.errors import StoreError
from torana.ledger import LINGER_S, LOSS_S, Ledger, new_call_id
from torana.records import AttemptEntry, CallEntry, Tokens
from torana.store import Batch, EntryStore
from torana.store.sqlite import SqliteStore

WAIT_S = 30  # for a process of ours; reached only when it is broken
TIMER_S = 0.002  # the event loop rounds its timers to a millisecond, twice
KILLS = 5
KILLS_SOAK = 200


# ---------------------------------------------------------------- the process that is killed


class Noted:
    """The store, with each batch noted before and after it."""

    def __init__(self, entries: EntryStore, notes: int) -> None:
        self._entries = entries
        self._notes = notes

    def __getattr__(self, name: str) -> object:
        return getattr(self._entries, name)

    async def append(self, batch: Batch) -> None:
        note(self._notes, "take", "")
        await self._entries.append(batch)
        note(self._notes, "saved", "")


def note(notes: int, what: str, id: str) -> None:
    os.write(notes, b"%s %s %.6f\n" % (what.encode(), id.encode() or b"-", time.monotonic()))


async def write(path: Path, notes_path: Path, durability: str) -> None:
    """Calls begin each millisecond and last from no time to 80 ms, until a signal comes."""
    store = await SqliteStore.open(path, durability=durability)
    notes = os.open(notes_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ledger = Ledger(Noted(store.entries, notes))
    await ledger.open()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    lasting: list[tuple[float, CallEntry, AttemptEntry]] = []
    draw = random.Random(7)
    acks: set[asyncio.Task[None]] = set()

    def settle(call: CallEntry, attempt: AttemptEntry, state: str) -> None:
        call.tokens, call.cost = Tokens(input=3, output=5), 1_000
        call.state = attempt.state = state
        ledger.settle(call, attempt)
        note(notes, "settle", call.id)

    async def acknowledge(id: str) -> None:
        await ledger.flush()
        note(notes, "ack", id)

    note(notes, "ready", "")
    while not stop.is_set():
        for _ in range(3):
            started = time.time_ns() // 1000
            call = CallEntry(new_call_id(started), "key_1", "openai_chat", "gpt", False, started)
            attempt = AttemptEntry(call.id, 1, "openai", "gpt", started)
            ledger.begin(call, attempt)
            note(notes, "begin", call.id)
            lasting.append((loop.time() + draw.choice((0, 0, 0.01, 0.08)), call, attempt))
        now = loop.time()
        for until, call, attempt in lasting:
            if until <= now:
                settle(call, attempt, "ok")
                if durability == "strict" and not acks:
                    acks.add(task := asyncio.create_task(acknowledge(call.id)))
                    task.add_done_callback(acks.discard)
        lasting = [entry for entry in lasting if entry[0] > now]
        await asyncio.sleep(0.001)
    for _, call, attempt in lasting:
        settle(call, attempt, "cancelled")
    await ledger.close()
    await store.close()
    note(notes, "closed", "")


# ---------------------------------------------------------------- the one that looks


class Note(Struct, frozen=True):
    what: str
    id: str
    at: float


def run_and(end: signal.Signals, folder: Path, *, after_s: float, durability: str = "balanced") -> list[Note]:
    """Let it write into the folder's database for a while, end it, and return its notes of this run."""
    notes = folder / f"notes-{time.monotonic_ns()}"
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import test_ledger_killed as it; it.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "torana.db"), str(notes), durability],
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not notes.exists() or b"ready" not in notes.read_bytes():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(after_s)
        process.send_signal(end)
        _, errors = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.wait(timeout=WAIT_S)
    assert (process.returncode, errors) == (0 if end is signal.SIGTERM else -end, b"")
    lines = notes.read_text().splitlines()
    return [Note(what, id, float(at)) for what, id, at in (line.split() for line in lines)]


def main() -> None:
    uvloop.run(write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))


class Found(Struct):
    recovered: int
    calls: dict[str, CallEntry]
    attempts: dict[str, list[AttemptEntry]]


def look(folder: Path, notes: list[Note]) -> Found:
    """Start again on the file, as after a crash."""

    async def told() -> Found:
        store = await SqliteStore.open(folder / "torana.db")
        recovered = await store.entries.recover()
        ids = {note.id for note in notes if note.what == "begin"}
        calls = {id: call for id in ids if (call := await store.entries.call(id)) is not None}
        attempts = {id: await store.entries.attempts(id) for id in ids}
        await store.close()
        return Found(recovered, calls, attempts)

    return asyncio.run(told())


def ids(notes: list[Note], what: str) -> set[str]:
    return {note.id for note in notes if note.what == what}


def certain(notes: list[Note]) -> list[Note]:
    """The notes before the last batch that was saved was taken: all of it must be in the file."""
    places = [place for place, note in enumerate(notes) if note.what in {"take", "saved"}]
    takes = [first for first, then in itertools.pairwise(places) if notes[then].what == "saved"]
    return notes[: takes[-1]] if takes else []


def check_killed(notes: list[Note], found: Found) -> float:
    """What is in the file follows from the notes. Returns the age of the oldest settlement that was lost."""
    sure = certain(notes)
    begun, settled = ids(notes, "begin"), ids(notes, "settle")
    present = {id for id, call in found.calls.items() if call.state != "intent"}
    assert ids(sure, "begin") <= set(found.calls)
    assert ids(sure, "settle") <= present <= settled
    for id, call in found.calls.items():
        whole = (call.state, call.tokens, call.cost, call.error)
        intent = ("intent", Tokens(), None, "unsettled")
        assert whole == (("ok", Tokens(input=3, output=5), 1_000, "") if id in present else intent)
        assert [attempt.state for attempt in found.attempts[id]] == [call.state]
    assert found.recovered == len(found.calls) - len(present)
    lost = [note.at for note in notes if note.what == "settle" and note.id not in present]
    lost += [note.at for note in notes if note.what == "begin" and note.id in begun - set(found.calls)]
    return notes[-1].at - min(lost) if lost else 0.0


def lateness(notes: list[Note]) -> float:
    """How long this run's loop stood still at most, and its last two batches took: no promise is faster."""
    stall = max(then.at - note.at for note, then in itertools.pairwise(notes))
    takes = [note.at for note in notes if note.what == "take"]
    saves = [note.at for note in notes if note.what == "saved"]
    saves += [notes[-1].at] * (len(takes) - len(saves))
    return stall + sum(saved - taken for taken, saved in list(zip(takes, saves, strict=True))[-2:])


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_process_loses_nothing_older_than_its_last_batch(tmp_path, seed):
    notes = run_and(signal.SIGKILL, tmp_path, after_s=random.Random(seed).uniform(0.1, 0.6))
    age = check_killed(notes, look(tmp_path, notes))
    assert age <= LINGER_S + TIMER_S + lateness(notes)


def test_a_file_survives_one_kill_after_another(tmp_path):
    """Each run starts on what the one before left; all that was certain in any of them is there at the end."""
    runs = []
    for seed in range(3):
        notes = run_and(signal.SIGKILL, tmp_path, after_s=random.Random(seed).uniform(0.05, 0.3))
        check_killed(notes, look(tmp_path, notes))
        runs.append(notes)
    for notes in runs:
        found = look(tmp_path, notes)
        assert found.recovered == 0
        assert ids(certain(notes), "settle") <= {id for id, c in found.calls.items() if c.state == "ok"}


def test_a_process_that_is_asked_to_stop_loses_nothing(tmp_path):
    notes = run_and(signal.SIGTERM, tmp_path, after_s=0.3)
    found = look(tmp_path, notes)
    assert notes[-1].what == "closed"
    assert ids(notes, "settle") == ids(notes, "begin") == set(found.calls)
    assert found.recovered == 0
    assert {call.state for call in found.calls.values()} == {"ok", "cancelled"}


def test_what_strict_durability_acknowledged_is_there_after_a_kill(tmp_path):
    notes = run_and(signal.SIGKILL, tmp_path, after_s=0.4, durability="strict")
    found = look(tmp_path, notes)
    check_killed(notes, found)
    acknowledged = ids(notes, "ack")
    assert len(acknowledged) > 0
    assert acknowledged <= {id for id, call in found.calls.items() if call.state == "ok"}


def test_a_second_process_cannot_start_on_the_file_of_a_running_one(tmp_path):
    async def told() -> None:
        store = await SqliteStore.open(tmp_path / "torana.db")
        with pytest.raises(AssertionError, match="one process owns a database"):
            run_and(signal.SIGKILL, tmp_path, after_s=0)
        with pytest.raises(StoreError, match=f"the process {os.getpid()} has"):
            await SqliteStore.open(tmp_path / "torana.db")
        await store.close()

    asyncio.run(told())


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_hundred_kills_lose_no_more_than_the_documented_time(tmp_path, record_property):
    """P4. The median run keeps the documented 50 ms on the clock, not only by order."""
    ages = []
    for seed in range(KILLS_SOAK):
        notes = run_and(signal.SIGKILL, tmp_path, after_s=random.Random(seed).uniform(0.02, 0.6))
        ages.append(check_killed(notes, look(tmp_path, notes)))
        assert ages[-1] <= LOSS_S + TIMER_S + lateness(notes)
    ages.sort()
    record_property("lost_ms_median", round(ages[len(ages) // 2] * 1000, 1))
    record_property("lost_ms_max", round(ages[-1] * 1000, 1))
    print(f"oldest entry lost: median {ages[len(ages) // 2] * 1000:.1f} ms, worst {ages[-1] * 1000:.1f} ms")
