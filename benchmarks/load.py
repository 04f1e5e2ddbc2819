"""The caller of every benchmark: raw protocols on kept connections, cheap enough not to be the bottleneck.

Three shapes of load. closed(): C connections, each asks again when it is answered (throughput, CPU per request).
paced(): a fixed rate whatever the answers do, latency counted from the moment a request was due, so that a slow
answer cannot hide the ones behind it. streams(): many streams at once, their events counted. Everything is bounded
in count and time and goes to 127.0.0.1 only. Knows nothing of gateways: it sends the bytes it is given.

    python -m benchmarks.load --port 8080 --path /v1/chat/completions --key sk-bench --model bench-chat
"""

import argparse
import asyncio
import ctypes
import json
import os
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from benchmarks import bodies
from benchmarks.upstream import HOST

DURATION_S_MAX = 120.0  # no leg of a run needs more, and a forgotten one must end
DRAIN_S = 30.0  # the slowest peer answers 64 callers in about a second; one that hangs is reported
STREAMS_MAX = 4096  # of one process's default 20,000 open files
_CONNECT_BATCH = 50  # asyncio servers listen with a backlog of 100; a dropped SYN costs a second


class LoadError(Exception):
    """An answer that was not 200, not whole or not ours: the figures of such a leg mean nothing."""


@dataclass(frozen=True)
class Target:
    """Where one leg's bytes go. `mark` is in every right answer; the first answer of a connection is searched."""

    port: int
    request: bytes
    mark: bytes = bodies.MARK.encode()


@dataclass
class Tally:
    """What a leg saw. Latencies in seconds, in the order of completion."""

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    first_event: "array[float]" = field(default_factory=lambda: array("d"))
    events: int = 0
    wall_s: float = 0.0

    @property
    def count(self) -> int:
        return len(self.latencies)

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def request_bytes(path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", "content-type: application/json", "accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Line(asyncio.Protocol):
    """One kept connection with at most one question open on it."""

    def __init__(self, target: Target, done: Callable[["Line"], None], failed: Callable[[str], None]) -> None:
        self._target, self._done, self._failed = target, done, failed
        self._transport: asyncio.Transport
        self._head = b""
        self._in_head = True
        self._left = 0  # body bytes to come; -1: chunked, ends with the last chunk
        self._tail = b""
        self._seen = b""  # the first answer, whole, until it was searched
        self._trusted = False
        self._busy = False
        self.due = 0.0
        self.first_s = 0.0
        self.events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the class

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._failed(f"the connection was closed before the answer ended ({exc or 'end of file'})")

    def ask(self, due: float) -> None:
        self._busy, self._in_head, self._head, self._tail = True, True, b"", b""
        self.due, self.first_s, self.events = due, 0.0, 0
        self._transport.write(self._target.request)

    def close(self) -> None:
        self._busy = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self._failed(f"bytes that answer no question: {data[:200]!r}")
            return
        if self._in_head:
            data = self._head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            if not self._read_head(data, end):
                return
            data = data[end + 4 :]
        if data:
            self._read_body(data)

    def _read_head(self, data: bytes, end: int) -> bool:
        if data[9:12] != b"200":
            self._busy = False
            self._failed(f"not a 200: {data[:600]!r}")
            return False
        head = data[:end].lower() + b"\r\n"
        at = head.find(b"\r\ncontent-length:")
        self._left = int(head[at + 17 : head.find(b"\r\n", at + 2)]) if at >= 0 else -1
        self._in_head = False
        return True

    def _read_body(self, data: bytes) -> None:
        if not self._trusted:
            self._seen += data
        if self._left >= 0:
            self._left -= len(data)
            whole = self._left == 0
        else:
            if not self.first_s:
                self.first_s = time.perf_counter() - self.due
            joined = self._tail + data
            self.events += joined.count(b"\n\n")
            whole = joined.endswith(b"\r\n0\r\n\r\n") or joined == b"0\r\n\r\n"
            # Six bytes can begin a last chunk; a "\n\n" among them was counted and must not be again.
            self._tail = joined[-6:].replace(b"\n\n", b"\n\r")
        if whole:
            self._close_answer()

    def _close_answer(self) -> None:
        self._busy = False
        if not self._trusted:
            if self._target.mark not in self._seen:
                self._failed(f"an answer that is not the mock's: {self._seen[:600]!r}")
                return
            self._trusted, self._seen = True, b""
        self._done(self)


class _Caller:
    """Owns the lines of one leg and the future that ends it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tally = Tally()
        self.lines: list[Line] = []
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.started = 0.0

    def failed(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(LoadError(why))

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    async def connect(self, count: int, done: Callable[[Line], None]) -> None:
        def line() -> Line:
            return Line(self.target, done, self.failed)

        for start in range(0, count, _CONNECT_BATCH):
            batch = range(start, min(start + _CONNECT_BATCH, count))
            made = await asyncio.gather(
                *(self.loop.create_connection(line, HOST, self.target.port) for _ in batch)
            )
            self.lines += [protocol for _, protocol in made]
        self.started = time.perf_counter()

    async def wait(self, timeout_s: float) -> Tally:
        try:
            await asyncio.wait_for(self.ended, timeout_s)
        except TimeoutError:
            raise LoadError(
                f"{self.tally.count} answers came within {timeout_s:.0f} s, then no more"
            ) from None
        finally:
            for line in self.lines:
                line.close()
        self.tally.wall_s = time.perf_counter() - self.started
        return self.tally


async def closed(target: Target, *, connections: int, duration_s: float) -> Tally:
    """Each connection asks again as soon as it is answered, until the time is up; what is open then is awaited."""
    caller = _Caller(target)
    tally, clock = caller.tally, time.perf_counter
    deadline = clock() + min(duration_s, DURATION_S_MAX)
    open_lines = connections

    def done(line: Line) -> None:
        nonlocal open_lines
        now = clock()
        tally.latencies.append(now - line.due)
        if now < deadline:
            line.ask(now)
            return
        open_lines -= 1
        if not open_lines:
            caller.end()

    await caller.connect(connections, done)
    deadline = clock() + min(duration_s, DURATION_S_MAX)
    for line in caller.lines:
        line.ask(clock())
    return await caller.wait(duration_s + DRAIN_S)


async def paced(target: Target, *, rate: int, duration_s: float, connections: int) -> Tally:
    """`rate` requests a second on idle connections; one that finds none waits, and its latency says so."""
    caller = _Caller(target)
    tally, clock = caller.tally, time.perf_counter
    total = int(rate * min(duration_s, DURATION_S_MAX))
    idle: deque[Line] = deque()
    late: deque[float] = deque()
    sent = 0

    def done(line: Line) -> None:
        tally.latencies.append(clock() - line.due)
        if late:
            line.ask(late.popleft())
        else:
            idle.append(line)
        if tally.count == total:
            caller.end()

    await caller.connect(connections, done)
    idle.extend(caller.lines)
    timer = _Timer(1 / rate)
    caller.started = started = clock()

    def tick() -> None:
        nonlocal sent
        for _ in range(min(timer.expirations(), total - sent)):
            sent += 1
            due = started + sent / rate
            if idle:
                idle.popleft().ask(due)
            else:
                late.append(due)

    caller.loop.add_reader(timer.fd, tick)
    try:
        return await caller.wait(duration_s + DRAIN_S)
    finally:
        caller.loop.remove_reader(timer.fd)
        timer.close()


async def streams(target: Target, *, count: int, rounds: int, spread_s: float, timeout_s: float) -> Tally:
    """`count` streams open at once, begun evenly over `spread_s`; each line asks again until `rounds` are done."""
    caller = _Caller(target)
    tally, clock = caller.tally, time.perf_counter
    count = min(count, STREAMS_MAX)
    total = count * rounds
    asked = count  # by the loop below

    def done(line: Line) -> None:
        nonlocal asked
        tally.latencies.append(clock() - line.due)
        tally.first_event.append(line.first_s)
        tally.events += line.events
        if asked < total:
            asked += 1
            line.ask(clock())
        if tally.count == total:
            caller.end()

    await caller.connect(count, done)
    started = caller.started
    for index, line in enumerate(caller.lines):
        while clock() < started + spread_s * index / count:
            await asyncio.sleep(0.001)
        line.ask(clock())
    return await caller.wait(min(timeout_s, DURATION_S_MAX))


class _Timer:
    """A timerfd: uvloop's own timers have a grain of 1 ms, which is the whole gap between two paced requests."""

    def __init__(self, period_s: float) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        nonblocking = os.O_NONBLOCK | os.O_CLOEXEC
        self.fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, nonblocking)
        seconds, nanoseconds = divmod(int(period_s * 1e9), 10**9)
        spec = (ctypes.c_long * 4)(seconds, nanoseconds, seconds, nanoseconds)  # itimerspec: interval, value
        if self.fd < 0 or self._libc.timerfd_settime(self.fd, 0, spec, None):
            raise OSError(ctypes.get_errno(), "the kernel gave no timerfd; the benchmarks need Linux")

    def expirations(self) -> int:
        return int.from_bytes(os.read(self.fd, 8), "little")

    def close(self) -> None:
        os.close(self.fd)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--path", default="/v1/chat/completions")
    options.add_argument("--key", default="sk-bench")
    options.add_argument("--model", default="gpt-bench")
    options.add_argument("--mode", choices=("closed", "paced", "streams"), default="closed")
    options.add_argument("--duration", type=float, default=5.0, help="seconds")
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--rate", type=int, default=1000, help="requests a second, for --mode paced")
    return options.parse_args()


def main() -> None:
    options = _options()
    body = bodies.messages_request if options.path.endswith("/messages") else bodies.chat_request
    headers = {"authorization": f"Bearer {options.key}"}
    streamed = options.mode == "streams"
    request = request_bytes(options.path, headers, body(options.model, stream=streamed))
    target = Target(options.port, request, b"Torana" if streamed else Target.mark)
    size: dict[str, Any] = {"connections": options.connections, "duration_s": options.duration}
    if options.mode == "closed":
        tally = uvloop.run(closed(target, **size))
    elif options.mode == "paced":
        tally = uvloop.run(paced(target, rate=options.rate, **size))
    else:
        count = options.connections
        tally = uvloop.run(
            streams(target, count=count, rounds=1, spread_s=0.1, timeout_s=options.duration + DRAIN_S)
        )
    print(
        json.dumps(
            {
                "answers": tally.count,
                "events": tally.events,
                "per_s": round(tally.count / tally.wall_s, 1),
                "p50_ms": round(tally.quantile_ms(0.5), 3),
                "p99_ms": round(tally.quantile_ms(0.99), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
