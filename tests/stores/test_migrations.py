"""The steps of the schema, and that a process killed at any of their statements leaves a file that starts. Fault S13."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from torana.errors import StoreError
from torana.store import migrations
from torana.store.migrations import Step
from torana.store.sqlite import SqliteStore

WAIT_S = 60  # for another process of ours; reached only when it is broken

LATER = (
    Step(2, ("CREATE TABLE later (id INTEGER PRIMARY KEY)", "INSERT INTO later VALUES (1)")),
    Step(
        3,
        (
            "ALTER TABLE later ADD COLUMN name TEXT",
            "UPDATE later SET name = 'x'",
            "DROP INDEX calls_unsettled",
        ),
    ),
)

KILLED = """
import os, signal, sqlite3, sys
sys.path[:0] = [sys.argv[2]]
from test_migrations import LATER
from torana.store import migrations

def migrate(path, left):
    def count(statement):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    connection = sqlite3.connect(path, isolation_level=None)
    connection.set_trace_callback(count)
    migrations.apply(connection, (*migrations.steps(), *LATER))
    os._exit(0)

statement = status = 0
while statement == 0 or os.WIFSIGNALED(status):
    if (pid := os.fork()) == 0:
        migrate(f"{sys.argv[1]}/{statement}.db", statement)
    status = os.waitpid(pid, 0)[1]
    print(statement, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    statement += 1
"""


def killed_at_each_statement(folder: Path) -> list[int]:
    """Migrate N.db in a process that is killed before its Nth statement, up to the first that gets through; how each
    of them ended."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(Path(__file__).parent)],
        capture_output=True,
        timeout=WAIT_S,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    return [int(line.split()[1]) for line in ended.stdout.splitlines()]


def migrated(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.apply(connection, (*migrations.steps(), *LATER))
    connection.close()


def shape(path: Path) -> tuple[int, list[tuple[str, str]]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    number = migrations.version(connection)
    connection.close()
    return number, found


def opened(path: Path) -> None:
    async def told() -> None:
        store = await SqliteStore.open(path)
        assert await store.keys.all() == []
        await store.close()

    asyncio.run(told())


def test_the_steps_are_numbered_from_one_without_a_gap():
    assert [step.number for step in migrations.steps()] == list(range(1, len(migrations.steps()) + 1))


def test_applying_what_is_applied_changes_nothing(tmp_path):
    path = tmp_path / "torana.db"
    opened(path)
    before = shape(path)
    opened(path)
    assert shape(path) == before


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "torana.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.apply(connection, migrations.steps())
    bad = Step(2, ("CREATE TABLE later (id)", "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrations.apply(connection, (*migrations.steps(), bad))
    connection.close()
    number, found = shape(path)
    assert (number, "later" in dict(found)) == (1, False)


def test_a_process_killed_at_any_statement_leaves_a_step_whole_or_not_begun(tmp_path):
    """A step adds, so the file opens with this version until the first later step is whole; then it is newer."""
    *killed, last = killed_at_each_statement(tmp_path)
    statements = sum(len(step.statements) for step in (*migrations.steps(), *LATER))
    assert len(killed) >= statements + 3 * 4  # and BEGIN, COMMIT and two numbers of each step
    assert (set(killed), last) == ({-signal.SIGKILL}, 0)
    whole = shape(tmp_path / f"{len(killed)}.db")
    assert whole[0] == 3
    seen = set()
    for statement in range(len(killed)):
        path = tmp_path / f"{statement}.db"
        number = shape(path)[0]
        seen.add(number)
        if number <= 1:
            opened(path)
        else:
            with pytest.raises(StoreError, match="newer"):
                opened(path)
        migrated(path)
        assert shape(path) == whole
    assert seen == {0, 1, 2}


def test_a_semicolon_in_a_string_does_not_end_a_statement():
    assert migrations.split(
        "CREATE TABLE a (b DEFAULT ';');\n-- a remark; still one\nSELECT 1;\n-- the end\n"
    ) == (
        "CREATE TABLE a (b DEFAULT ';');",
        "-- a remark; still one\nSELECT 1;",
    )


def test_half_a_statement_is_refused():
    with pytest.raises(StoreError, match="in the middle of a statement"):
        migrations.split("CREATE TABLE a (\n")
