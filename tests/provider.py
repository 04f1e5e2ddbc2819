"""A provider on the internet, scripted: it answers what the test says, keeps its own count and every request.

A script is a function of the request that yields steps: bytes are written, a float is slept, ABORT resets the
connection, CLOSE ends it. `reply` and `events` build the common scripts.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

ABORT = object()
CLOSE = object()
HANG = 3600.0


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    raw_headers: bytes
    body: bytes
    left: threading.Event = field(
        default_factory=threading.Event
    )  # set when our caller closed before the end

    @property
    def json(self):
        return json.loads(self.body)


Script = Callable[[Asked], Iterable[object]]


class Provider:
    """A server in a thread of its own. `asked` lists its requests in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready.set()
        await self._stopped.wait()
        server.close()
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        with contextlib.suppress(Exception):
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        line, *rows = raw.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (row.partition(":") for row in rows if row)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, raw, body)
        self.asked.append(asked)
        watch = asyncio.create_task(self._watch(reader, asked))
        try:
            for step in self.script(asked):
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                elif step is ABORT:
                    sock: socket.socket = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return False
                elif step is CLOSE:
                    return False
                else:
                    await asyncio.sleep(float(step))
                if asked.left.is_set():
                    return False
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await watch
        return True

    async def _watch(self, reader: asyncio.StreamReader, asked: Asked) -> None:
        """Notice, without taking a byte of a next request, that the other side closed."""
        while not reader.at_eof() and reader.exception() is None:
            await asyncio.sleep(0.01)
        asked.left.set()


def reply(
    body: bytes | dict,
    status: int = 200,
    kind: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Script:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: [head(status, kind, length=len(data), headers=headers) + data]


def head(
    status: int = 200,
    kind: str = "application/json",
    *,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}"]
    lines += ["transfer-encoding: chunked"] if length is None else [f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST = b"0\r\n\r\n"


def events(*pieces: object, status: int = 200, headers: dict[str, str] | None = None) -> Script:
    """A stream: bytes become one chunk each; other steps stand for themselves; the ending is added unless the
    script ends otherwise."""

    def script(_: Asked) -> Iterable[object]:
        yield head(status, "text/event-stream", headers=headers)
        for piece in pieces:
            yield chunk(piece) if isinstance(piece, bytes) else piece
        if not pieces or (pieces[-1] is not ABORT and pieces[-1] is not CLOSE):
            yield LAST

    return script


# ---------------------------------------------------------------- what providers say

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-x-2026",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def chat_chunk(delta: dict | None = None, finish: str | None = None, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-x-2026",
        "choices": choices,
        **more,
    }
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


CHAT_USAGE = chat_chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11})
CHAT_DONE = b"data: [DONE]\n\n"
CHAT_STREAM = (
    chat_chunk({"role": "assistant", "content": ""}),
    chat_chunk({"content": "Hello"}),
    chat_chunk({"content": " there"}),
    chat_chunk({}, "stop"),
    CHAT_USAGE,
    CHAT_DONE,
)

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-2026",
    "content": [{"type": "text", "text": "Hello there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 2},
}


def message_event(type: str, **fields: object) -> bytes:
    data = json.dumps({"type": type, **fields}, separators=(",", ":")).encode()
    return b"event: " + type.encode() + b"\ndata: " + data + b"\n\n"


MESSAGE_START = message_event(
    "message_start",
    message=MESSAGE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}},
)
MESSAGE_STREAM = (
    MESSAGE_START,
    message_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
    message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": " there"}),
    message_event("content_block_stop", index=0),
    message_event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}
    ),
    message_event("message_stop"),
)
