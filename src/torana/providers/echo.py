"""The provider inside this process: it repeats what it was told, needs no key, and opens no socket.

It speaks openai_chat, whole and streamed, and meets the gateway as any upstream does: a status, headers, a body to
read or relay. It says back the last user message, or the tool results if they are what came last, word by word.

Lines of the last user message that begin with "!echo " are instructions and are not repeated. They are text, so
they survive every translation:

    !echo tool=get_weather {"city":"Oslo"}   call a tool; several lines call several
    !echo think=Let me see.                  think this first
    !echo error=429 Slow down.               answer with an error
    !echo finish=length                      end for this reason
    !echo delay=0.5                          wait so many seconds before the head
    !echo pace=0.05                          wait so many seconds before each word of a stream
    !echo cut=3                              break the connection after so many chunks; a whole answer has two

A token is a word between white space. Ids are counted, so that the same calls get the same answers.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from torana.errors import InvalidRequest, UpstreamDisconnected, UpstreamTooLarge
from torana.records import Model, Provider
from torana.wire import json, sse

PROVIDER = Provider(
    name="echo",
    title="Echo",
    base_url="http://echo.invalid",
    auth="none",
    local=True,
    docs="docs/providers.md",
)
MODEL = Model(
    id="echo", provider="echo", title="Echo", input=("text",), output=("text",), tools=True, reasoning=True
)
DELAY_S_MAX = 60.0  # below the gateway's own limits: a test of those names a real server
CHOICES_MAX = 16  # answers are copies; more shows nothing new
DIRECTIVE = "!echo "
Headers = list[tuple[bytes, bytes]]  # as net.Headers and net.Sink: the rooms do not know each other
Sink = Callable[[bytes], None]
FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


class _Options(Struct):
    include_usage: bool = False


class _Message(Struct):
    role: str = ""
    content: Raw = Raw(b"null")


class _Request(Struct):
    messages: list[_Message]
    model: str = "echo"
    stream: bool = False
    stream_options: _Options | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES_MAX)] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _Script(Struct):
    """What the last user message says and asks for."""

    text: str = ""
    think: str = ""
    tools: list[tuple[str, str]] = []
    error: int = 0
    message: str = ""
    finish: str = ""
    delay_s: float = 0.0
    pace_s: float = 0.0
    cut: int | None = None


_request = msgspec.json.Decoder(_Request)
_content = msgspec.json.Decoder(str | list[dict[str, Any]] | None)  # [{"type": "text", "text": "..."}, ...]


class Echo:
    """`created` tells the seconds since 1970 that answers carry."""

    def __init__(self, created: Callable[[], int] = lambda: int(time.time())) -> None:
        self._created = created
        self._ids = count(1)

    async def send(self, body: bytes, *, stream: bool) -> "EchoReply":  # noqa: ARG002 - the body says it too
        """The answer's head. Errors are answers, as a provider's are."""
        id = f"chatcmpl-echo-{next(self._ids)}"
        try:
            request = json.read(_request, body, InvalidRequest)
            script = _script(request.messages)
        except InvalidRequest as error:
            return _refusal(id, 400, error.message)
        if script.delay_s:
            await asyncio.sleep(script.delay_s)
        if script.error:
            return _refusal(id, script.error, script.message or f"echo was asked for a {script.error}")
        answer = _Answer(id, request, script, self._created())
        if request.stream:
            return EchoReply(200, "text/event-stream", id, answer.frames(), script)
        return EchoReply(200, "application/json", id, iter(halves(answer.whole())), script)


def _refusal(id: str, status: int, message: str) -> "EchoReply":
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": f"echo_{status}"}
    reply = EchoReply(status, "application/json", id, iter([json.encode({"error": error})]), _Script())
    if status in (429, 503, 529):
        reply.headers.append((b"retry-after", b"1"))
    return reply


# ---------------------------------------------------------------- what it was told


def _script(messages: list[_Message]) -> _Script:
    """Raises InvalidRequest for an instruction that is none."""
    last = next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), -1)
    script = _Script()
    if last < 0:
        return script
    results = [_text(message.content) for message in messages[last + 1 :] if message.role == "tool"]
    if results:
        script.text = "\n".join(results)
        return script
    kept = []
    for line in _text(messages[last].content).split("\n"):
        if line.startswith(DIRECTIVE):
            _follow(script, line.removeprefix(DIRECTIVE).strip())
        else:
            kept.append(line)
    script.text = "\n".join(kept).strip("\n")
    return script


def _text(content: Raw) -> str:
    """The text of a message; a part that is none is named in brackets."""
    found = json.read(_content, content, InvalidRequest)
    if found is None or isinstance(found, str):
        return found or ""
    return "\n".join(
        [str(part["text"]) if "text" in part else f"[{part.get('type', 'part')}]" for part in found]
    )


def _follow(script: _Script, line: str) -> None:
    name, _, value = line.partition("=")
    first, _, rest = value.partition(" ")
    match name:
        case "tool":
            script.tools.append((first, rest.strip() or "{}"))
        case "think":
            script.think = value
        case "error":
            script.error, script.message = _whole(line, first, 400, 599), rest
        case "finish" if value in FINISHES:
            script.finish = value
        case "delay":
            script.delay_s = _seconds(line, value)
        case "pace":
            script.pace_s = _seconds(line, value)
        case "cut":
            script.cut = _whole(line, value, 0, 1_000_000)
        case _:
            raise InvalidRequest(
                f"echo does not know {line!r}; it knows tool, think, error, finish, delay, pace and cut"
            )


def _whole(line: str, value: str, least: int, most: int) -> int:
    if not value.isascii() or not value.isdigit() or not least <= int(value[:9]) <= most:
        raise InvalidRequest(f"{line!r} needs a whole number from {least} to {most}")
    return int(value)


def _seconds(line: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,5}(?:\.\d{1,9})?", value, re.ASCII) or float(value) > DELAY_S_MAX:
        raise InvalidRequest(f"{line!r} needs seconds, at most {DELAY_S_MAX:g}")
    return float(value)


# ---------------------------------------------------------------- what it says


def words(text: str) -> list[str]:
    """The text cut before the white space of each word; joined, it is the text again."""
    return re.findall(r"\s*\S+|\s+\Z", text)


def halves(body: bytes) -> list[bytes]:
    """A whole answer comes in two reads, so that it can break between them."""
    middle = len(body) // 2
    return [body[:middle], body[middle:]]


class _Answer:
    """Says the same thing whole and in chunks."""

    def __init__(self, id: str, request: _Request, script: _Script, created: int) -> None:
        self.request, self.script = request, script
        self.head: dict[str, Any] = {"id": id, "created": created, "model": request.model}
        self.thoughts, self.words = words(script.think), words(script.text)
        limit = request.max_completion_tokens or request.max_tokens
        self.finish = script.finish or ("tool_calls" if script.tools else "stop")
        if limit is not None and len(self.words) > limit:
            self.words = self.words[:limit]
            self.finish = script.finish or "length"
        self.calls: list[dict[str, Any]] = [  # as in message.tool_calls
            {
                "id": f"call_{id.rpartition('-')[2]}_{at}",
                "type": "function",
                "function": {"name": name, "arguments": text},
            }
            for at, (name, text) in enumerate(script.tools, 1)
        ]

    def whole(self) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.words) if self.words or not self.calls else None,
        }
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        if self.calls:
            message["tool_calls"] = self.calls
        choices = [
            {"index": at, "message": message, "logprobs": None, "finish_reason": self.finish}
            for at in range(self.request.n or 1)
        ]
        return json.encode(
            {**self.head, "object": "chat.completion", "choices": choices, "usage": self.usage()}
        )

    def frames(self) -> Iterator[bytes]:
        """Server-sent events: a chunk per word, the usage if asked for, [DONE]."""
        for at in range(self.request.n or 1):
            for delta in self._deltas():
                yield self._frame([{"index": at, "delta": delta, "logprobs": None, "finish_reason": None}])
            yield self._frame([{"index": at, "delta": {}, "logprobs": None, "finish_reason": self.finish}])
        if self.request.stream_options is not None and self.request.stream_options.include_usage:
            yield self._frame([], usage=self.usage())
        yield sse.frame(b"[DONE]")

    def _deltas(self) -> Iterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        for word in self.thoughts:
            yield {"reasoning_content": word}
        for word in self.words:
            yield {"content": word}
        for at, call in enumerate(self.calls):
            function = call["function"]
            yield {"tool_calls": [{"index": at, **call, "function": {**function, "arguments": ""}}]}
            for piece in words(function["arguments"]):
                yield {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}

    def _frame(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        return sse.frame(
            json.encode({**self.head, "object": "chat.completion.chunk", "choices": choices, **more})
        )

    def usage(self) -> dict[str, Any]:
        """Words, counted; an instruction is read, so it counts."""
        prompt = sum(len(_text(message.content).split()) for message in self.request.messages)
        thoughts = len(self.script.think.split())
        said = len("".join(self.words).split())
        called = sum(len(f"{name} {text}".split()) for name, text in self.script.tools)
        completion = (thoughts + said + called) * (self.request.n or 1)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": thoughts * (self.request.n or 1)},
        }


# ---------------------------------------------------------------- how it is read


class EchoReply:
    """net.Reply without a socket. `chunks` are handed out one by one, the loop runs between two of them."""

    def __init__(self, status: int, type: str, id: str, chunks: Iterator[bytes], script: _Script) -> None:
        self.status = status
        self.headers: Headers = [(b"content-type", type.encode()), (b"x-request-id", id.encode())]
        self._chunks = chunks
        self._script = script
        self._closed = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def read(self, bytes_max: int) -> bytes:
        body: list[bytes] = []
        size = 0

        def keep(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > bytes_max:
                raise UpstreamTooLarge(f"the answer of echo is longer than {bytes_max} bytes")
            body.append(data)

        await self.relay(keep)
        return b"".join(body)

    async def relay(self, sink: Sink) -> None:
        try:
            for sent, chunk in enumerate(self._chunks):
                await self._turn()
                if sent == self._script.cut:
                    raise UpstreamDisconnected("echo broke the connection, as it was asked to")
                sink(chunk)
        finally:
            self.close()

    async def _turn(self) -> None:
        """Wait until the next chunk may go."""
        if self._script.pace_s:
            await self._wait(self._script.pace_s)
        else:
            await asyncio.sleep(0)
        if not self._flowing.is_set():
            await self._flowing.wait()
        if self._closed.is_set():
            raise UpstreamDisconnected("the answer of echo was closed before its end")

    async def _wait(self, seconds: float) -> None:
        """Sleep, but not past close()."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._closed.set()
        self._flowing.set()
