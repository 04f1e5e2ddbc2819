"""Which files the SQLite store opens, and that it leaves alone those it does not. Fault rows S2 and S5."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from torana.errors import StoreError
from torana.records import CallEntry
from torana.store import Batch, migrations
from torana.store.opening import QUICK_CHECK_BYTES_MAX, open_file
from torana.store.sqlite import SqliteStore

WAIT_S = 30  # for another process of ours; reached only when it is broken


def calls(count: int, first: int = 0) -> Batch:
    return Batch(
        calls_settled={
            f"c{n:06}": CallEntry(
                f"c{n:06}", "key_1", "openai_chat", "gpt", False, n, state="ok", user="u" * 200
            )
            for n in range(first, first + count)
        }
    )


def make(path: Path, count: int = 300) -> None:
    async def told() -> None:
        store = await SqliteStore.open(path)
        await store.entries.append(calls(count))
        await store.close()

    asyncio.run(told())


def count_of(path: Path) -> int:
    async def told() -> int:
        store = await SqliteStore.open(path)
        try:
            return (await store.entries.totals()).calls
        finally:
            await store.close()

    return asyncio.run(told())


def snapshot(path: Path) -> dict[str, bytes]:
    """Every file of the database but its lock."""
    return {
        file.name: file.read_bytes()
        for file in path.parent.iterdir()
        if file.name.startswith(path.name) and not file.name.endswith((".lock", "-shm"))
    }


def refused(path: Path, match: str) -> None:
    """Opening fails with the sentence, changes nothing, and leaves the file free to open."""
    before = snapshot(path)
    for _ in range(2):
        with pytest.raises(StoreError, match=match):
            asyncio.run(SqliteStore.open(path))
    assert snapshot(path) == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "torana.db"


# ---------------------------------------------------------------- what is opened


def test_a_new_file_is_readable_by_its_owner_only(path):
    make(path)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes == {"torana.db": "0o600", "torana.db.lock": "0o600"}


def test_an_empty_file_is_a_new_database(path):
    path.touch()
    assert count_of(path) == 0


def test_a_file_says_whose_it_is_and_of_which_shape(path):
    make(path)
    head = path.read_bytes()[:100]
    assert (int.from_bytes(head[60:64]), int.from_bytes(head[68:72])) == (
        len(migrations.steps()),
        migrations.APPLICATION_ID,
    )


def test_closing_leaves_one_file_with_everything_in_it(path):
    make(path, 300)
    assert sorted(snapshot(path)) == ["torana.db"]
    assert count_of(path) == 300


@pytest.mark.parametrize(("durability", "level"), [("balanced", 1), ("strict", 2)])
def test_durability_is_what_sqlite_calls_synchronous(path, durability, level):
    connection = open_file(path, durability=durability)
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    connection.close()
    assert found == [level, "wal"]


# ---------------------------------------------------------------- what is refused


def test_a_file_that_is_not_a_database_is_refused_and_kept(path):
    path.write_text("name: value\n" * 1000)
    refused(path, "is not a SQLite database; it was left as it is")


def test_a_file_shorter_than_a_header_is_refused_and_kept(path):
    path.write_bytes(b"SQLite")
    refused(path, "is not a SQLite database")


def test_another_programs_database_is_refused_and_kept(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE contacts (name TEXT)")
    other.close()
    refused(path, "is another program's database")


def test_another_programs_database_in_wal_mode_keeps_its_log(path):
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("PRAGMA application_id = 7")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.execute("CREATE TABLE contacts (name TEXT)")
    refused(path, "is another program's database")
    other.close()


def test_a_database_without_our_tables_is_refused_and_kept(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE keys (id)")
        other.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
    other.close()
    refused(path, "is another program's database")


def test_a_newer_shape_is_refused_and_kept(path):
    make(path)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 4000")
    newer.close()
    refused(path, "newer Torana: its schema is number 4000")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_database_is_refused_and_kept(path, part):
    make(path)
    os.truncate(path, int(path.stat().st_size * part) // 4096 * 4096)
    refused(path, "is damaged .*Restore a backup")


def test_a_database_overwritten_in_the_middle_is_refused_and_kept(path):
    make(path)
    whole = bytearray(path.read_bytes())
    assert len(whole) < QUICK_CHECK_BYTES_MAX
    for page in range(4096, len(whole), 4096):
        whole[page : page + 64] = b"\xff" * 64
    path.write_bytes(whole)
    refused(path, "is damaged")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"absent/torana\.db\.lock cannot be opened: No such file"):
        asyncio.run(SqliteStore.open(tmp_path / "absent" / "torana.db"))


def test_a_directory_in_the_place_of_the_file_is_refused(path):
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        asyncio.run(SqliteStore.open(path))


# ---------------------------------------------------------------- the log


def crashed(path: Path) -> Path:
    """A database as a killed process leaves it: three batches of which the log alone knows."""
    code = f"""
import asyncio, os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from test_sqlite_file import calls
from torana.store.sqlite import SqliteStore

async def told():
    store = await SqliteStore.open(Path({str(path)!r}))
    for part in range(3):
        await store.entries.append(calls(100, first=1000 * part))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(told())
"""
    ended = subprocess.run([sys.executable, "-c", code], timeout=WAIT_S)
    assert ended.returncode == -signal.SIGKILL
    return path.with_name(path.name + "-wal")


def test_what_a_killed_process_wrote_is_there_after_it(path):
    log = crashed(path)
    assert log.stat().st_size > 0
    assert count_of(path) == 300


def test_a_log_with_a_torn_end_is_read_up_to_it(path):
    log = crashed(path)
    os.truncate(log, log.stat().st_size - 100)
    assert count_of(path) == 200


def test_a_log_with_a_damaged_header_is_refused_and_kept(path):
    log = crashed(path)
    data = bytearray(log.read_bytes())
    data[5] ^= 1
    log.write_bytes(data)
    refused(path, "the write-ahead log .* is damaged: its header")


def test_a_log_damaged_before_a_finished_transaction_is_refused_and_kept(path):
    log = crashed(path)
    data = bytearray(log.read_bytes())
    data[32 + 24 + 2000] ^= 1
    log.write_bytes(data)
    refused(path, r"frame 1 of \d+ is damaged and transactions follow it")


def test_a_log_of_zeros_is_no_log(path):
    make(path, 5)
    path.with_name("torana.db-wal").write_bytes(b"\0" * 4096)
    assert count_of(path) == 5


# ---------------------------------------------------------------- one process


HOLDER = """
import asyncio, sys
from pathlib import Path
from torana.store.sqlite import SqliteStore

async def told():
    store = await SqliteStore.open(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await store.close()

asyncio.run(told())
"""


@pytest.fixture
def holder(path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"open\n"
    yield process
    process.kill()
    process.communicate(timeout=WAIT_S)


def test_a_second_process_is_refused_and_told_who_has_the_file(path, holder):
    with pytest.raises(StoreError, match=f"the process {holder.pid} has .*torana.db open"):
        asyncio.run(SqliteStore.open(path))


def test_a_link_to_the_file_does_not_help_a_second_process(path, holder):
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(StoreError, match=f"the process {holder.pid} has"):
        asyncio.run(SqliteStore.open(link))


def test_the_lock_of_a_killed_process_does_not_block(path, holder):
    holder.kill()
    holder.wait(timeout=WAIT_S)
    assert path.with_name("torana.db.lock").read_text() == f"{holder.pid}\n"
    assert count_of(path) == 0


def test_a_second_store_in_the_same_process_is_refused_until_the_first_is_closed(path):
    async def told() -> None:
        first = await SqliteStore.open(path)
        with pytest.raises(StoreError, match=f"the process {os.getpid()} has"):
            await SqliteStore.open(path)
        await first.close()
        await first.close()
        await (await SqliteStore.open(path)).close()

    asyncio.run(told())


def test_a_closed_store_says_so(path):
    async def told() -> None:
        store = await SqliteStore.open(path)
        await store.close()
        with pytest.raises(StoreError, match="is closed"):
            await store.keys.all()

    asyncio.run(told())


# ---------------------------------------------------------------- impossible values


def test_values_sqlite_cannot_hold_do_not_keep_a_batch_from_being_written(path):
    batch = calls(40)
    batch.calls_settled["c000007"].latency = 10**30
    batch.calls_settled["c000008"].user = "half a pair: \ud83d"
    batch.calls_settled["c000009"].error = None
    batch.calls_settled["c000010"].error = ValueError("not a word")

    async def told() -> list[object]:
        store = await SqliteStore.open(path)
        await store.entries.append(batch)
        found = [await store.entries.call(f"c{n:06}") for n in (7, 8, 9, 10)]
        totals = await store.entries.totals()
        await store.close()
        return [found[0].latency, found[1].user, found[2].error, found[3].error, totals.calls]

    assert asyncio.run(told()) == [2**53, "half a pair: ?", None, "not a word", 40]


def test_a_text_of_any_length_is_kept_to_its_limit(path):
    batch = calls(1)
    batch.calls_settled["c000000"].user = "x" * 100_000
    batch.calls_settled["c000000"].metadata = '{"k":"' + "x" * 100_000 + '"}'

    async def told() -> list[object]:
        store = await SqliteStore.open(path)
        await store.entries.append(batch)
        call = await store.entries.call("c000000")
        await store.close()
        return [len(call.user), call.metadata]

    assert asyncio.run(told()) == [
        16_384,
        '{"torana":"metadata of more than 16384 characters was not kept"}',
    ]
