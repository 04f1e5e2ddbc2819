"""A provider that answers at once: prebuilt bytes over a raw protocol, so that it is never the bottleneck.

It speaks OpenAI chat and Anthropic messages, whole and streamed, counts what it served, and takes its script
(`PUT /control?events=50&gap_ms=100`) between two legs of a run; `GET /control` tells the counts. It trusts its
caller: framing that no gateway of ours sends is not looked for. Loopback only.

    python -m benchmarks.upstream --port 9100
"""

import argparse
import asyncio
import json
import re
import sys
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qs

import uvloop

from benchmarks import bodies

HOST = "127.0.0.1"
_HEAD_JSON = (
    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
    b"openai-processing-ms: 1\r\ncontent-length: %d\r\n\r\n"
)
_HEAD_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_bench\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_STREAMED = re.compile(rb'"stream"\s*:\s*true')
_USAGE_ASKED = re.compile(rb'"include_usage"\s*:\s*true')
_EVENTS_DEFAULT = 50


def whole(body: bytes, status: int = 200) -> bytes:
    return _HEAD_JSON % (status, b"OK" if status == 200 else b"Not Found", len(body)) + body


def _chunks(events: list[bytes]) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(event), event) for event in events]


@dataclass
class Script:
    """What is answered, and how much of it was."""

    gap_s: float = 0.0
    requests: int = 0
    events: int = 0
    chat: bytes = field(default_factory=lambda: whole(bodies.chat_answer()))
    messages: bytes = field(default_factory=lambda: whole(bodies.messages_answer()))
    models: bytes = field(
        default_factory=lambda: whole(
            json.dumps(
                {"object": "list", "data": [{"id": "gpt-bench", "object": "model", "owned_by": "bench"}]}
            ).encode()
        )
    )
    streams: dict[str, list[bytes]] = field(default_factory=dict)

    def rewrite(self, events: int, gap_s: float) -> None:
        self.gap_s = gap_s
        self.requests = self.events = 0
        self.streams = {
            "chat": _chunks(bodies.chat_events(events, usage=False)),
            "chat+usage": _chunks(bodies.chat_events(events, usage=True)),
            "messages": _chunks(bodies.messages_events(events)),
        }

    def control(self, method: bytes, query: str) -> bytes:
        if method == b"PUT":
            asked = parse_qs(query)
            self.rewrite(int(asked["events"][0]), float(asked["gap_ms"][0]) / 1000)
        return whole(json.dumps({"requests": self.requests, "events": self.events}).encode())


class Player:
    """Plays one stream: each event is a write of its own, also when there is no gap between two."""

    __slots__ = ("_events", "_index", "_loop", "_script", "_transport")

    def __init__(self, script: Script, events: list[bytes], transport: asyncio.Transport) -> None:
        self._script, self._events, self._transport = script, events, transport
        self._index = 0
        self._loop = asyncio.get_running_loop()
        transport.write(_HEAD_STREAM)
        self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        if self._index == len(self._events):
            self._transport.write(_LAST_CHUNK)
            return
        self._transport.write(self._events[self._index])
        self._index += 1
        self._script.events += 1
        # The last chunk leaves at once after the last event, as a provider's does.
        gap_s = self._script.gap_s if self._index < len(self._events) else 0
        if gap_s:
            self._loop.call_later(gap_s, self._step)
        else:
            self._loop.call_soon(self._step)


class Connection(asyncio.Protocol):
    """Reads requests by Content-Length (or a chunked body that arrives whole) and answers each at once."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the class

    def data_received(self, data: bytes) -> None:
        data = self._pending + data if self._pending else data
        while data:
            head_end = data.find(b"\r\n\r\n") + 4
            size = -1 if head_end == 3 else _message_bytes(data, head_end)
            if size < 0 or len(data) < size:
                break
            self._answer(data[:size], head_end)
            data = data[size:]
        self._pending = data

    def _answer(self, request: bytes, head_end: int) -> None:
        script = self._script
        method, target, _ = request.split(b" ", 2)
        path, _, query = target.partition(b"?")
        if path.endswith(b"/chat/completions"):
            script.requests += 1
            if _STREAMED.search(request, head_end):
                kind = "chat+usage" if _USAGE_ASKED.search(request, head_end) else "chat"
                Player(script, script.streams[kind], self._transport)
            else:
                self._transport.write(script.chat)
        elif path.endswith(b"/messages"):
            script.requests += 1
            if _STREAMED.search(request, head_end):
                Player(script, script.streams["messages"], self._transport)
            else:
                self._transport.write(script.messages)
        elif path == b"/control":
            self._transport.write(script.control(method, query.decode()))
        elif path.endswith(b"/models"):
            self._transport.write(script.models)
        elif path == b"/health":
            self._transport.write(whole(b"{}"))
        else:
            self._transport.write(whole(b'{"error":{"message":"the mock has no such path"}}', 404))


def _message_bytes(data: bytes, head_end: int) -> int:
    """The length of the first message of `data`, -1 if more has to arrive to know it."""
    head = data[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return head_end + int(head[at + 17 : head.find(b"\r\n", at + 2)])
    if b"\r\ntransfer-encoding:" in head:
        end = data.find(_LAST_CHUNK, head_end)
        return -1 if end < 0 else end + len(_LAST_CHUNK)
    return head_end


async def serve(port: int) -> None:
    script = Script()
    script.rewrite(_EVENTS_DEFAULT, 0.0)
    # 4,096: a thousand streams may connect within one wakeup.
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(script), HOST, port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--port", type=int, default=0, help="0 takes a free one; the port is printed")
    try:
        uvloop.run(serve(options.parse_args().port))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
