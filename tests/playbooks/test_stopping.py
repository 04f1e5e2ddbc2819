"""The gateway is stopped while calls are under way: they end, or are told that they did not."""

import http.client
import json
import threading

import pytest

from provider import CHAT, CHAT_STREAM, Provider, chat_chunk, events, head, reply
from running import SECRET, Running, provider
from torana.errors import ConfigError


class Asking(threading.Thread):
    """One call in a thread of its own; `status`, `body` and `id` once it has ended."""

    def __init__(self, torana: Running, *, stream: bool) -> None:
        super().__init__(daemon=True)
        self._port, self._stream = torana.port, stream
        self.status, self.body, self.id = 0, b"", ""
        self.start()

    def run(self) -> None:
        body = {
            "model": "mock/gpt-x",
            "stream": self._stream,
            "messages": [{"role": "user", "content": "hi"}],
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {SECRET}"}
        )
        response = connection.getresponse()
        self.status, self.id = response.status, response.headers["x-request-id"]
        self.body = response.read()
        connection.close()

    def ended(self) -> "Asking":
        self.join(20)
        assert not self.is_alive()
        return self


def entries(folder, count: int) -> list:
    """What the ledger of a stopped gateway holds, the newest first."""
    with Running(folder) as again:
        return again.do(again.app._store.entries.recent("config:test", limit=count))


def wait_for(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen within 10 s")


@pytest.mark.parametrize("stream", [True, False])
def test_calls_that_end_within_the_deadline_are_whole(tmp_path, stream):
    slow_stream = events(*CHAT_STREAM[:2], 0.5, *CHAT_STREAM[2:])

    def slow(asked):
        return [0.5, *reply(CHAT)(asked)]

    with Provider(slow_stream if stream else slow) as mock:
        server = {"port": 0, "drain_s": 10, "grace_s": 0}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            calls = [Asking(torana, stream=stream) for _ in range(20)]
            wait_for(lambda: len(mock.asked) == 20)
        for call in calls:
            call.ended()
            assert (call.status, b"error" in call.body) == (200, False)
            assert call.body.endswith(b"data: [DONE]\n\n") or json.loads(call.body)["id"] == "chatcmpl-1"
    assert [entry.state for entry in entries(tmp_path, 50)] == ["ok"] * 20


def test_a_stream_that_is_too_long_is_told_in_band_that_it_is_not_whole(tmp_path):
    with Provider(events(*CHAT_STREAM[:3], 30.0)) as mock:
        server = {"port": 0, "drain_s": 0.2, "grace_s": 0}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            call = Asking(torana, stream=True)
            wait_for(lambda: call.status == 200)
        last = call.ended().body.rstrip().split(b"\n")[-1]
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        assert b"[DONE]" not in call.body
    [entry] = entries(tmp_path, 1)
    assert (entry.state, entry.error, entry.tokens.output > 0) == ("incomplete", "shutting_down", True)


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_that_has_no_answer_yet_is_told_503_and_is_no_success(tmp_path, stream):
    with Provider(lambda _: [30.0]) as mock:
        server = {"port": 0, "drain_s": 0.2, "grace_s": 0}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            call = Asking(torana, stream=stream)
            wait_for(lambda: len(mock.asked) == 1)
        assert (call.ended().status, json.loads(call.body)["error"]["code"]) == (503, "shutting_down")
        assert mock.asked[0].left.wait(5)
    [entry] = entries(tmp_path, 1)
    assert (entry.id, entry.state, entry.error, entry.status) == (call.id, "error", "shutting_down", 503)
    assert entry.tokens.estimated is True


def test_a_whole_answer_under_way_is_not_called_a_success_when_broken_off(tmp_path):
    with Provider(lambda _: [head(length=5000) + b'{"id":', 30.0]) as mock:
        server = {"port": 0, "drain_s": 0.2, "grace_s": 0}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            call = Asking(torana, stream=False)
            wait_for(lambda: len(mock.asked) == 1)
        assert call.ended().status == 503
    assert [entry.state for entry in entries(tmp_path, 1)] == ["error"]


def test_a_task_that_failed_does_not_keep_the_ledger_from_being_written(tmp_path):
    with Running(tmp_path) as torana:

        async def fail() -> None:
            async def broken() -> None:
                raise RuntimeError("a bug")

            torana.app.own(broken())

        torana.do(fail())
        assert torana.chat("echo").status == 200
    assert [entry.state for entry in entries(tmp_path, 1)] == ["ok"]


def test_a_gateway_that_cannot_listen_leaves_nothing_open(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with Running(tmp_path) as torana, pytest.raises(ConfigError, match="in use"):
        Running(other, server={"port": torana.port}).__enter__()
    with Running(other) as torana:
        assert torana.chat("echo").status == 200


def test_whoever_is_asked_twice_to_stop_does_not_wait(tmp_path):
    with Provider(events(*CHAT_STREAM[:3], 60.0)) as mock:
        server = {"port": 0, "drain_s": 100, "grace_s": 100}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            call = Asking(torana, stream=True)
            wait_for(lambda: call.status == 200)
            torana._loop.call_soon_threadsafe(torana._stop.set)
            wait_for(lambda: torana.app._draining)
            torana._loop.call_soon_threadsafe(torana.app.hurry)
        assert b'"shutting_down"' in call.ended().body


def test_every_event_of_a_drained_stream_arrives(tmp_path):
    pieces = [chat_chunk({"content": f"w{n} "}) for n in range(50)]
    paced = [step for piece in pieces for step in (piece, 0.01)]
    with Provider(events(*paced, chat_chunk({}, "stop"), b"data: [DONE]\n\n")) as mock:
        server = {"port": 0, "drain_s": 10, "grace_s": 0}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, server=server) as torana:
            call = Asking(torana, stream=True)
            wait_for(lambda: call.status == 200)
        assert call.ended().body == b"".join(pieces) + chat_chunk({}, "stop") + b"data: [DONE]\n\n"
