"""Streams that break off anywhere, and streams cut into any segments on their way: the first are never taken for an
answer, the second are one byte for byte (fault matrix U5 to U7, U13)."""

import json
import random
from itertools import pairwise
from types import SimpleNamespace

import pytest

import replaying
from hostile import ASKED, Caller, listening
from provider import (
    ABORT,
    CHAT_DONE,
    CLOSE,
    LAST,
    MESSAGE_START,
    Asked,
    Provider,
    chat_chunk,
    chunk,
    head,
    message_event,
)
from replaying import EVENT, exchanges, in_band, said, spelled
from running import Running, provider

SEED = 20260822
CUTS = 1000  # of each way to relay
SPLIT_STREAMS, SPLITS = 200, 8
SEGMENTS_MAX = 24
DIALECTS = ("openai_chat", "anthropic")
MODELS = {"openai_chat": "mock/gpt-x", "anthropic": "ant/claude-x"}
ENDS = {"openai_chat": b"[DONE]", "anthropic": b"event: message_stop"}
TEXT = "ü🎈日\u2028é\u0000ß\U0001d518"
ways = pytest.mark.parametrize(("source", "caller"), [(s, c) for s in DIALECTS for c in DIALECTS])

# What the scripted providers say: text of one to four bytes a character, and a tool call.
SCRIPTED = {
    "openai_chat": b"".join([
        chat_chunk({"role": "assistant", "content": ""}),
        *[b"data: " + json.dumps(
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"content": letter}, "finish_reason": None}]},
            ensure_ascii=False).encode() + b"\n\n" for letter in TEXT],
        b": a comment\n\n",
        chat_chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                    "function": {"name": "f", "arguments": '{"a":'}}]}),
        chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"b"}'}}]}),
        chat_chunk({}, "tool_calls"),
        CHAT_DONE,
    ]),
    "anthropic": b"".join([
        MESSAGE_START,
        message_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[b"event: content_block_delta\ndata: " + json.dumps(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": letter}},
            ensure_ascii=False).encode() + b"\n\n" for letter in TEXT],
        message_event("ping"),
        message_event("content_block_stop", index=0),
        message_event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
                      usage={"output_tokens": 2}),
        message_event("message_stop"),
    ]),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Provider(lambda _: []) as server:
        rows = {"mock": provider(server.url), "ant": provider(server.url, "anthropic", auth="x-api-key")}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            caller = Caller(torana.port)
            yield SimpleNamespace(caller=caller, server=server)
            caller.close()


@pytest.fixture(autouse=True)
def unbroken(stage):
    with listening() as listener:
        yield
    assert listener.broken == []


def ask(stage, source: str, caller: str, steps: list[object]) -> tuple[int, bytes]:
    """The answer to a streamed call whose provider follows these steps."""

    def script(_: Asked):
        return steps

    stage.server.script = script
    body = ASKED[caller] | {"model": MODELS[source], "stream": True}
    if caller == "openai_chat":
        body["stream_options"] = {"include_usage": True}
    status, _, answer = stage.caller.post(caller, body)
    return status, answer


def recorded(dialect: str) -> list[tuple[str, bytes]]:
    """The complete recorded streams that have an end to be cut before."""
    found = [r for r in exchanges(dialect) if r["response"]["streaming"] and r["stream"]["complete"]]
    told = [r for r in found if in_band(r) is None and said(r, dialect) is not None]
    return [(r["id"], replaying.answer_bytes(r)) for r in told if r["id"] not in TWICE]


TWICE = ("anthropic-messages-339077f361f0c812",)  # two answers in one stream


def is_finish(event: bytes) -> bool:
    """A reason to finish is stated: in Chat Completions the answer is complete with it."""
    frames = spelled(event)
    choices = frames[0].get("choices") or [] if frames else []
    stopped = bool(frames) and (frames[0].get("delta") or {}).get("stop_reason")
    return bool(stopped) or any(choice.get("finish_reason") for choice in choices)


def place(body: bytes, found) -> int:
    """Where the first event begins of which `found` is true."""
    at = 0
    for event in EVENT.findall(body):
        if found(event):
            return at
        at += len(event)
    return at


def story_end(body: bytes, dialect: str) -> int:
    """A stream cut anywhere before this place is no answer."""
    end = place(body, lambda event: event.startswith((b"event: message_stop", b"data: [DONE]")))
    return min(end, place(body, is_finish)) if dialect == "openai_chat" else end


def whole_events(body: bytes) -> bytes:
    return b"".join([event for event in EVENT.findall(body) if event.endswith((b"\n\n", b"\r\n\r\n"))])


def fault(source: str, caller: str, sent: bytes, answer: tuple[int, bytes], *, exact: bool = True) -> str:
    """What is wrong with the answer to a stream that broke off; "" where it says so and nothing is missing."""
    status, told = answer
    if status >= 400:
        return "" if json.loads(told)["error"]["message"] else "an error without a message"
    events = EVENT.findall(told)
    last = spelled(events[-1])
    if not last or not (last[0].get("error") or {}).get("message"):
        return f"no error at its end: {told[-200:]!r}"
    if ENDS[caller] in told or (any(map(is_finish, events)) and not any(map(is_finish, EVENT.findall(sent)))):
        return f"it has an end: {told[-300:]!r}"
    before, complete = b"".join(events[:-1]), whole_events(sent)
    if source == caller and not (before == complete if exact else complete.startswith(before)):
        return f"{before[-200:]!r} is not {complete[-200:]!r}"
    return ""


# ---------------------------------------------------------------- breaking off


@ways
def test_a_stream_that_ends_before_its_story_is_never_an_answer(stage, source, caller):
    """A clean end of the body, a clean end of the connection, a reset: at a thousand places of recorded streams."""
    dice = random.Random(SEED)
    streams, wrong = recorded(source), []
    assert len(streams) > 300
    for at in range(CUTS):
        id, body = streams[dice.randrange(len(streams))]
        sent = body[: dice.randrange(story_end(body, source) + 1)]
        ending = (LAST, CLOSE, ABORT)[at % 3]
        answer = ask(stage, source, caller, [head(kind="text/event-stream"), chunk(sent), ending])
        # A reset overtakes what was sent before it: less may have come than went.
        if found := fault(source, caller, sent, answer, exact=ending is not ABORT):
            wrong.append(f"{id} at {len(sent)} by {at % 3}: {found}")
    assert wrong == [], "\n".join(wrong)


@ways
def test_a_stream_cut_at_any_byte_of_its_framing_is_never_an_answer(stage, source, caller):
    """Inside the head, a chunk's size, a line, a character of four bytes; all that was whole before is delivered."""
    body = SCRIPTED[source]
    events = EVENT.findall(body)
    raw = head(kind="text/event-stream") + b"".join([chunk(event) for event in events]) + LAST
    end = raw.index(chunk(next(e for e in events if e.startswith((b"event: message_stop", b"data: [DONE]")))))
    wrong = []
    for cut in range(0, end, 1 if source == caller else 3):
        sent = dechunked(raw[:cut])
        if is_told(source, sent):
            continue
        if found := fault(source, caller, sent, ask(stage, source, caller, [raw[:cut], CLOSE])):
            wrong.append(f"at {cut}: {found}")
    assert wrong == [], "\n".join(wrong)


def is_told(source: str, sent: bytes) -> bool:
    """In Chat Completions a stream that stated why it finished is whole without [DONE]."""
    return source == "openai_chat" and any(map(is_finish, EVENT.findall(whole_events(sent))))


def dechunked(raw: bytes) -> bytes:
    """The bytes of the body that came, whatever is missing behind them."""
    _, _, rest = raw.partition(b"\r\n\r\n")
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


@ways
def test_a_story_that_was_told_to_its_end_is_not_spoilt_by_how_the_connection_ends(stage, source, caller):
    raw = head(kind="text/event-stream") + chunk(SCRIPTED[source])
    whole = ask(stage, source, caller, [raw, LAST])
    for ending in ([CLOSE], [b"0\r\n", CLOSE], [0.05, ABORT]):
        status, told = ask(stage, source, caller, [raw, *ending])
        assert (status, b'"error"' in told) == (200, False)
        assert source != caller or told == whole[1]


# ---------------------------------------------------------------- segments


def segments(raw: bytes, dice: random.Random) -> list[object]:
    """The bytes in random pieces, each written by itself."""
    cuts = sorted({dice.randrange(1, len(raw)) for _ in range(dice.randrange(1, SEGMENTS_MAX))})
    pieces: list[object] = []
    for start, end in pairwise([0, *cuts, len(raw)]):
        pieces += [raw[start:end], 0.0]
    return pieces


@pytest.mark.parametrize("dialect", DIALECTS)
def test_how_the_network_cuts_a_stream_changes_no_byte(stage, dialect):
    dice = random.Random(SEED)
    streams, wrong = recorded(dialect), []
    for id, body in streams[:: len(streams) // SPLIT_STREAMS][:SPLIT_STREAMS]:
        raw = (
            head(kind="text/event-stream") + b"".join([chunk(event) for event in EVENT.findall(body)]) + LAST
        )
        for _ in range(SPLITS):
            status, told = ask(stage, dialect, dialect, segments(raw, dice))
            if (status, told) != (200, body):
                wrong.append(f"{id}: {status} {told[-200:]!r}")
    assert wrong == [], "\n".join(wrong)


@ways
def test_a_stream_that_comes_byte_by_byte_tells_the_same(stage, source, caller):
    raw = head(kind="text/event-stream") + chunk(SCRIPTED[source]) + LAST
    whole = ask(stage, source, caller, [raw])
    steps: list[object] = []
    for at in range(len(raw)):
        steps += [raw[at : at + 1], 0.0]
    told = ask(stage, source, caller, steps)
    assert text_of(told[1]) == text_of(whole[1]) == TEXT
    assert b"\xef\xbf\xbd" not in told[1]
    assert source != caller or told == (200, SCRIPTED[source])


def text_of(body: bytes) -> str:
    text = ""
    for frame in spelled(body):
        text += (frame.get("delta") or {}).get("text") or ""
        text += "".join([c["delta"].get("content") or "" for c in frame.get("choices") or []])
    return text
