"""The provider inside this process, judged by the types of the official client."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from torana.dialects import openai_chat
from torana.errors import StreamIncomplete, UpstreamDisconnected, UpstreamTooLarge
from torana.ir import fold
from torana.providers.echo import MODEL, PROVIDER, Echo, words
from torana.wire.sse import Frames

PATIENCE_S = 20  # no test waits so long; one that would hang ends here
BYTES_MAX = 10_000_000


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


def request(*messages, **fields):
    spoken = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return json.dumps({"model": "echo", "messages": spoken, **fields}).encode()


async def ask(body, echo=None):
    return await (echo or Echo(lambda: 1_700_000_000)).send(body, stream=b'"stream": true' in body)


async def whole(body):
    reply = await ask(body)
    assert reply.status == 200
    return ChatCompletion.model_validate_json(await reply.read(BYTES_MAX))


async def chunks(body):
    """The chunks of a stream, after checking that [DONE] ends it."""
    reply = await ask(body)
    assert (b"content-type", b"text/event-stream") in reply.headers
    frames = Frames().feed(await reply.read(BYTES_MAX))
    assert frames[-1] == (b"", b"[DONE]")
    return [ChatCompletionChunk.model_validate_json(data) for _, data in frames[:-1]]


async def error(body):
    reply = await ask(body)
    return reply.status, json.loads(await reply.read(BYTES_MAX))["error"]


def test_it_repeats_the_last_user_message():
    answer = run(whole(request("first", {"role": "assistant", "content": "first"}, "how  are\nyou?")))
    assert answer.choices[0].message.content == "how  are\nyou?"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.created) == ("echo", 1_700_000_000)


def test_it_streams_word_by_word():
    got = run(chunks(request("how  are\nyou?", stream=True)))
    assert [c.choices[0].delta.content for c in got[1:-1]] == ["how", "  are", "\nyou?"]
    assert got[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in got] == [None] * 4 + ["stop"]
    assert len({(c.id, c.model, c.created) for c in got}) == 1


@given(st.text())
def test_the_words_of_a_text_are_the_text(text):
    assert "".join(words(text)) == text


@given(st.text())
def test_any_text_comes_back_whole_and_streamed(text):
    assume("!echo " not in text)
    said = text.strip("\n")
    assert run(whole(request(text))).choices[0].message.content == said
    got = run(chunks(request(text, stream=True)))
    assert "".join(c.choices[0].delta.content or "" for c in got) == said


def test_parts_are_repeated_as_text_and_those_that_are_none_are_named():
    parts = [
        {"type": "text", "text": "look:"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    assert (
        run(whole(request({"role": "user", "content": parts}))).choices[0].message.content
        == "look:\n[image_url]"
    )


def test_tokens_are_words():
    body = request({"role": "system", "content": "be brief"}, "how are you")
    usage = run(whole(body)).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 3, 8)


def test_a_stream_ends_with_usage_when_it_was_asked_for():
    got = run(chunks(request("a b", stream=True, stream_options={"include_usage": True})))
    assert got[-1].choices == []
    assert (got[-1].usage.prompt_tokens, got[-1].usage.completion_tokens) == (2, 2)
    assert all(c.usage is None for c in got[:-1])


def test_the_limit_of_the_caller_cuts_the_answer():
    choice = run(whole(request("one two three", max_tokens=2))).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two", "length")
    choice = run(whole(request("one two three", max_completion_tokens=3))).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two three", "stop")


def test_several_choices_are_copies():
    answer = run(whole(request("hi there", n=2)))
    assert [(c.index, c.message.content) for c in answer.choices] == [(0, "hi there"), (1, "hi there")]
    assert answer.usage.completion_tokens == 4
    got = run(chunks(request("hi", n=2, stream=True)))
    assert [c.choices[0].index for c in got] == [0, 0, 0, 1, 1, 1]


def test_ids_are_counted_so_that_the_same_calls_get_the_same_answers():
    async def twice():
        echo = Echo(lambda: 0)
        return [(await ask(request("x"), echo)).headers[1] for _ in range(2)]

    assert run(twice()) == [(b"x-request-id", b"chatcmpl-echo-1"), (b"x-request-id", b"chatcmpl-echo-2")]
    assert run(whole(request("x"))).id == "chatcmpl-echo-1"


# ---------------------------------------------------------------- instructions


def test_it_calls_the_tools_it_is_told_to():
    text = 'look it up\n!echo tool=get_weather {"city":"Oslo"}\n!echo tool=get_time'
    choice = run(whole(request(text))).choices[0]
    assert choice.message.content == "look it up"
    assert choice.finish_reason == "tool_calls"
    called = [(c.function.name, c.function.arguments) for c in choice.message.tool_calls]
    assert called == [("get_weather", '{"city":"Oslo"}'), ("get_time", "{}")]
    assert len({c.id for c in choice.message.tool_calls}) == 2


def test_a_call_without_words_has_no_content():
    assert run(whole(request("!echo tool=f"))).choices[0].message.content is None


def test_streamed_calls_are_the_calls_of_the_whole_answer():
    text = '!echo tool=get_weather {"city": "Oslo", "days": 3}\n!echo tool=get_time {}'
    made = {}
    for chunk in run(chunks(request(text, stream=True))):
        for call in chunk.choices[0].delta.tool_calls or ():
            held = made.setdefault(call.index, {"id": call.id, "name": call.function.name, "text": ""})
            held["text"] += call.function.arguments
    expected = run(whole(request(text))).choices[0].message.tool_calls
    assert [(m["id"], m["name"], m["text"]) for m in made.values()] == [
        (c.id, c.function.name, c.function.arguments) for c in expected
    ]


def test_it_says_back_what_a_tool_answered_instead_of_calling_it_again():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = (
        "!echo tool=f",
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    )
    choice = run(whole(request(*turns))).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("sunny", "stop")


def test_it_thinks_first():
    message = run(whole(request("!echo think=let me see\nyes"))).choices[0].message
    assert (message.reasoning_content, message.content) == ("let me see", "yes")
    got = run(chunks(request("!echo think=let me see\nyes", stream=True)))
    thoughts = [getattr(c.choices[0].delta, "reasoning_content", None) for c in got]
    assert [t for t in thoughts if t] == ["let", " me", " see"]
    usage = run(whole(request("!echo think=let me see\nyes"))).usage
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (4, 3)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (429, "rate_limit_error"), (503, "server_error")]
)
def test_it_fails_as_it_is_told(status, kind):
    told, body = run(error(request(f"!echo error={status} not now")))
    assert (told, body["message"], body["type"]) == (status, "not now", kind)


def test_it_gives_advice_on_retrying_where_providers_do():
    assert (b"retry-after", b"1") in run(ask(request("!echo error=429"))).headers
    assert (b"retry-after", b"1") not in run(ask(request("!echo error=400"))).headers


def test_it_ends_for_the_reason_it_is_told():
    assert run(whole(request("!echo finish=content_filter\nhm"))).choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize(
    "line",
    [
        "dance",
        "error=200",
        "error=x",
        "error=99999999999",
        "delay=-1",
        "delay=61",
        "delay=nan",
        "cut=-1",
        "finish=soon",
        "cut=\u0663",
    ],
)
def test_an_instruction_that_is_none_is_refused_by_name(line):
    status, body = run(error(request(f"!echo {line}")))
    assert status == 400
    assert repr(line) in body["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"messages": 1}',
        b'{"messages": [{"role": 1}]}',
        b'{"messages": [], "n": 0}',
        b'{"messages": [], "n": 17}',
        b"\xff",
    ],
)
def test_a_body_that_is_no_request_is_a_400(body):
    status, told = run(error(body))
    assert (status, told["type"]) == (400, "invalid_request_error")


def test_a_request_without_a_user_gets_an_empty_answer():
    assert run(whole(request())).choices[0].message.content == ""


# ---------------------------------------------------------------- as an upstream


def test_a_cut_stream_breaks_after_so_many_chunks():
    async def relayed():
        got = []
        reply = await ask(request("!echo cut=3\na b c d", stream=True))
        with pytest.raises(UpstreamDisconnected):
            await reply.relay(got.append)
        return got

    assert len(run(relayed())) == 3


def test_a_cut_whole_answer_breaks_in_the_middle():
    async def relayed():
        got = []
        reply = await ask(request("!echo cut=1\na b c d"))
        with pytest.raises(UpstreamDisconnected):
            await reply.relay(got.append)
        return b"".join(got)

    with pytest.raises(json.JSONDecodeError):
        json.loads(run(relayed()))


def test_reading_stops_at_the_limit():
    async def read():
        await (await ask(request("x" * 1000))).read(500)

    with pytest.raises(UpstreamTooLarge):
        run(read())


def test_nothing_is_sent_while_the_reader_is_behind():
    async def relayed():
        got = []
        reply = await ask(request("a b c d e f", stream=True))

        def sink(data):
            got.append(data)
            if len(got) == 2:
                reply.pause()

        task = asyncio.create_task(reply.relay(sink))
        for _ in range(100):
            await asyncio.sleep(0)
        held = len(got)
        reply.resume()
        await task
        return held, len(got)

    assert run(relayed()) == (2, 9)


@pytest.mark.parametrize("line", ["!echo pace=60", ""])
def test_closing_ends_a_relay_that_waits(line):
    async def relayed():
        reply = await ask(request(f"{line}\na b c", stream=True))
        if not line:
            reply.pause()
        task = asyncio.create_task(reply.relay(lambda data: None))
        await asyncio.sleep(0)
        reply.close()
        reply.close()
        await task

    with pytest.raises(UpstreamDisconnected):
        run(relayed())


def test_a_sink_that_raises_closes_the_reply():
    async def relayed():
        reply = await ask(request("a b c", stream=True))

        def sink(data):
            raise ValueError("full")

        with pytest.raises(ValueError, match="full"):
            await reply.relay(sink)
        got = []
        with pytest.raises(UpstreamDisconnected):
            await reply.relay(got.append)
        return got

    assert run(relayed()) == []


def test_a_caller_that_leaves_ends_a_delay():
    async def leave():
        task = asyncio.create_task(ask(request("!echo delay=60")))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        run(leave())


def test_delay_and_pace_change_nothing_but_the_time():
    slow = run(chunks(request("!echo delay=0.001\n!echo pace=0.001\na b", stream=True)))
    assert [c.choices[0].delta.content for c in slow[:-1]] == ["", "a", " b"]


def test_its_row_needs_no_key_and_names_no_host_that_exists():
    assert (PROVIDER.name, PROVIDER.auth, PROVIDER.local) == ("echo", "none", True)
    assert urlsplit(PROVIDER.base_url).hostname.endswith(".invalid")
    assert (MODEL.id, MODEL.provider) == ("echo", "echo")


# ---------------------------------------------------------------- through our own dialect

SCRIPTS = pytest.mark.parametrize(
    "text",
    [
        "how are you?",
        '!echo think=let me see\nwell\n!echo tool=f {"a": 1}\n!echo tool=g',
        "!echo finish=length\nshort",
    ],
)


@SCRIPTS
def test_its_whole_and_its_streamed_answers_tell_our_dialect_the_same(text):
    async def both():
        streamed = request(text, stream=True, stream_options={"include_usage": True})
        return [await (await ask(body)).read(BYTES_MAX) for body in (request(text), streamed)]

    body, stream = run(both())
    parser = openai_chat.Parser()
    events = [*parser.feed(stream), *parser.close()]
    one, other = fold(openai_chat.parse_response(body)), fold(events)
    assert (one.choices, one.usage, one.ended) == (other.choices, other.usage, other.ended)


def test_a_cut_stream_is_no_whole_answer_to_our_dialect():
    async def cut():
        got = []
        reply = await ask(request("!echo cut=2\na b c", stream=True))
        with pytest.raises(UpstreamDisconnected):
            await reply.relay(got.append)
        return b"".join(got)

    parser = openai_chat.Parser()
    parser.feed(run(cut()))
    with pytest.raises(StreamIncomplete):
        parser.close()
