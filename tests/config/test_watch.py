"""Hot reload: a change is noticed once, a bad file changes nothing."""

import asyncio
import logging
import os

from torana.config import sight, watch
from torana.errors import ConfigError

PERIOD_S = 0.005


async def until(ready):
    async with asyncio.timeout(30):
        while not ready():
            await asyncio.sleep(PERIOD_S)


def watching(path, script, on_change=None, seen=None):
    """Run `script(calls)` beside a watch that appends the file's text to `calls`."""
    calls, before = [], sight(path)

    async def changed():
        calls.append(path.read_text())
        if on_change is not None:
            on_change()

    async def run():
        task = asyncio.create_task(watch(path, changed, period_s=PERIOD_S, seen=seen or before))
        try:
            await script(calls)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return calls


def replace(path, text):
    """As editors and orchestrators do it: another file takes the name."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_a_change_is_noticed_and_told_once(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text("one")

    async def script(calls):
        replace(path, "two")
        await until(lambda: calls)
        await asyncio.sleep(20 * PERIOD_S)

    assert watching(path, script) == ["two"]


def test_a_change_between_load_and_watch_is_not_missed(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text("one")
    seen = sight(path)
    replace(path, "two")

    async def script(calls):
        await until(lambda: calls)

    assert watching(path, script, seen=seen) == ["two"]


def test_an_unchanged_file_is_left_alone(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text("one")

    async def script(_):
        await asyncio.sleep(20 * PERIOD_S)

    assert watching(path, script) == []


def test_a_file_that_goes_and_comes_back_is_told_when_it_is_back(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text("one")

    async def script(calls):
        path.unlink()
        await asyncio.sleep(10 * PERIOD_S)
        assert calls == []
        path.write_text("back")
        await until(lambda: calls)

    assert watching(path, script)[-1] == "back"


def test_a_change_of_the_same_size_and_time_is_known_by_its_inode(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text("one")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns

    async def script(calls):
        beside = tmp_path / "beside"
        beside.write_text("two")
        os.utime(beside, ns=times)
        beside.replace(path)
        await until(lambda: calls)

    assert watching(path, script) == ["two"]


def test_a_bad_file_is_one_line_in_the_log_and_watching_goes_on(tmp_path, caplog):
    path = tmp_path / "torana.yaml"
    path.write_text("one")

    def refuse():
        if path.read_text() == "bad":
            raise ConfigError("torana.yaml, line 1: no")

    async def script(calls):
        replace(path, "bad")
        await until(lambda: calls)
        replace(path, "good")
        await until(lambda: len(calls) == 2)

    with caplog.at_level(logging.ERROR, logger="torana.config"):
        assert watching(path, script, refuse) == ["bad", "good"]
    assert [record.getMessage() for record in caplog.records] == [
        "torana.yaml is not used, the configuration in force stays: torana.yaml, line 1: no"
    ]


def test_a_bug_in_taking_up_a_change_does_not_end_the_watch(tmp_path, caplog):
    path = tmp_path / "torana.yaml"
    path.write_text("one")

    def break_once():
        if path.read_text() == "two":
            raise RuntimeError("a bug")

    async def script(calls):
        replace(path, "two")
        await until(lambda: calls)
        replace(path, "three")
        await until(lambda: len(calls) == 2)

    with caplog.at_level(logging.CRITICAL, logger="torana.config"):
        assert watching(path, script, break_once) == ["two", "three"]
