"""Streams of Anthropic's: read, watched, and told to its clients. The hard cases by name."""

import json

import pytest
from msgspec import Raw

from torana import ir
from torana.dialects import anthropic
from torana.dialects.interface import Context
from torana.errors import Error, StreamIncomplete, UpstreamError, UpstreamInvalid

import corpus

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "usage": {
            "input_tokens": 7,
            "cache_read_input_tokens": 3,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    },
}
STOP = {"type": "message_stop"}


def opened(at: int, **block: object) -> dict:
    return {"type": "content_block_start", "index": at, "content_block": block}


def grown(at: int, kind: str, **fields: object) -> dict:
    return {"type": "content_block_delta", "index": at, "delta": {"type": kind, **fields}}


def stopped(at: int) -> dict:
    return {"type": "content_block_stop", "index": at}


def settled(reason: str, usage: dict | None = None, **more: object) -> dict:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": usage or {"output_tokens": 9}, **more}


def frames(*events: dict) -> bytes:
    return b"".join([f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events])


def hear(*events: dict) -> list[ir.Event]:
    parser = anthropic.Parser()
    heard = parser.feed(frames(*events))
    return heard + parser.close()


def recorded(id: str) -> bytes:
    corpus.require()
    exchange = corpus.by_id()[id]
    body = corpus.body(exchange["response"])
    if exchange["stream"]["format"] == "sse":
        return body
    return frames(*[json.loads(line) for line in body.decode().splitlines() if line.strip()])


def fold(body: bytes) -> ir.Response:
    parser = anthropic.Parser()
    events = parser.feed(body)
    return ir.fold(events + parser.close())


def told(events: list[ir.Event], context: Context = Context()) -> list[dict]:
    wire = anthropic.Renderer(context).render(events)
    blocks = [block.split("\n") for block in wire.decode().split("\n\n") if block]
    found = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in found]
    return found


def spoken(*events: ir.Event, dialect: str = "openai_chat") -> list[dict]:
    begin = [ir.Start(dialect, "chatcmpl-1", "gpt")]
    return told([*begin, *events, ir.Finished(0, "stop"), ir.End()], Context(id="c1", model="claude"))


def shape(events: list[dict]) -> list[str]:
    return [event["type"].removeprefix("content_block_") for event in events]


# ---------------------------------------------------------------- reading


def test_a_stream_is_read_block_by_block():
    events = hear(
        START,
        opened(0, type="thinking", thinking="", signature=""),
        grown(0, "thinking_delta", thinking="hm"),
        grown(0, "signature_delta", signature="c2ln"),
        stopped(0),
        opened(1, type="text", text=""),
        {"type": "ping"},
        grown(1, "text_delta", text="so"),
        stopped(1),
        opened(2, type="tool_use", id="toolu_1", name="look", input={}),
        grown(2, "input_json_delta", partial_json=""),
        grown(2, "input_json_delta", partial_json='{"a":'),
        grown(2, "input_json_delta", partial_json="1}"),
        stopped(2),
        settled("tool_use"),
        STOP,
    )
    assert events == [
        ir.Start("anthropic", "msg_1", "claude", tier="standard"),
        ir.Spent(ir.Usage(input=7, cache_read=3, output=1)),
        ir.Open(0, ir.Thinking()),
        ir.Delta(0, "hm"),
        ir.Attach(0, ir.Seal("c2ln", "anthropic")),
        ir.Close(0),
        ir.Open(1, ir.Text()),
        ir.Progress(),
        ir.Delta(1, "so"),
        ir.Close(1),
        ir.Open(2, ir.ToolCall("toolu_1", "look")),
        ir.Delta(2, '{"a":'),
        ir.Delta(2, "1}"),
        ir.Close(2),
        ir.Spent(ir.Usage(input=7, cache_read=3, output=9)),
        ir.Finished(0, "tool_calls", "tool_use"),
        ir.End(),
    ]


def test_a_call_without_arguments_has_an_empty_object():
    response = ir.fold(hear(START, opened(0, type="tool_use", id="t", name="n", input={}), stopped(0), STOP))
    assert response.choices[0].parts == [ir.ToolCall("t", "n", "{}")]


def test_a_call_announced_with_its_arguments_keeps_them():
    response = ir.fold(
        hear(START, opened(0, type="tool_use", id="t", name="n", input={"a": 1}), stopped(0), STOP)
    )
    assert json.loads(response.choices[0].parts[0].text) == {"a": 1}


def test_usage_of_the_end_is_laid_over_that_of_the_start():
    usage = {
        "output_tokens": 9,
        "input_tokens": 0,
        "output_tokens_details": {"thinking_tokens": 4},
        "iterations": [],
    }
    response = ir.fold(hear(START, settled("end_turn", usage), STOP))
    assert response.usage == ir.Usage(
        input=7, cache_read=3, output=5, reasoning=4, extra={"iterations": Raw(b"[]")}
    )


def test_a_delta_of_a_block_never_opened_is_refused():
    with pytest.raises(UpstreamInvalid):
        fold(recorded("anthropic-messages-4806ac66f9fd8022"))


def test_a_message_that_starts_twice_goes_on_with_fresh_blocks():
    response = fold(recorded("anthropic-messages-f150da00a032015e"))
    assert response.ended
    assert response.id != ""


def test_content_already_inside_message_start_is_whole():
    response = fold(recorded("anthropic-messages-59b3ad549c2be063"))
    calls = [part for part in response.choices[0].parts if isinstance(part, ir.ToolCall)]
    assert response.choices[0].finish == "tool_calls"
    assert json.loads(bytes(calls[0].extra["caller"]))["type"].startswith("code_execution")


def test_search_results_come_whole_and_citations_by_delta():
    parts = fold(recorded("anthropic-messages-437e85accbf1edaf")).choices[0].parts
    results = [part for part in parts if isinstance(part, ir.ToolResult)]
    cited = [citation for part in parts if isinstance(part, ir.Text) for citation in part.citations]
    assert all(result.kind == "hosted" and result.name == "web_search" for result in results)
    assert all(isinstance(result.parts[0], ir.Data) for result in results)
    assert (len(results) > 0, {citation.kind for citation in cited}) == (True, {"url"})


def test_an_answer_of_a_fallback_model_counts_the_outer_numbers_only():
    response = fold(recorded("anthropic-messages-0ebc6ceb2f89b91b"))
    opaque = [json.loads(bytes(p.raw))["type"] for p in response.choices[0].parts if isinstance(p, ir.Opaque)]
    assert opaque == ["fallback"]
    assert "iterations" in response.usage.extra


def test_a_block_nobody_knows_is_whole_when_it_stops():
    response = ir.fold(
        hear(
            START,
            opened(0, type="compaction", content="so "),
            grown(0, "compaction_delta", content="far"),
            grown(0, "compaction_delta", tokens=3),
            stopped(0),
            STOP,
        )
    )
    assert json.loads(bytes(response.choices[0].parts[0].raw)) == {
        "type": "compaction",
        "content": "so far",
        "tokens": 3,
    }


def test_a_delta_nobody_knows_is_carried():
    response = ir.fold(
        hear(START, opened(0, type="text", text=""), grown(0, "tone_delta", tone="low"), stopped(0), STOP)
    )
    assert json.loads(bytes(response.choices[0].parts[0].extra["tone_delta"]))["tone"] == "low"


def test_an_event_nobody_knows_is_progress():
    assert [type(event) for event in hear(START, {"type": "weather"}, STOP)][-2] is ir.Progress


def test_an_error_event_ends_the_story_and_keeps_what_was_said():
    events = hear(
        START,
        opened(0, type="text", text=""),
        grown(0, "text_delta", text="so"),
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        stopped(0),
    )
    response = ir.fold(events)
    assert response.choices[0].parts == [ir.Text("so")]
    assert (response.error.status, response.error.kind, response.error.message) == (
        529,
        "overloaded_error",
        "Overloaded",
    )


def test_an_error_before_anything_is_a_start_and_an_end():
    events = hear({"type": "error", "error": {"type": "api_error", "message": "no"}})
    assert [type(event) for event in events] == [ir.Start, ir.End]


@pytest.mark.parametrize(
    "events",
    [
        (START, opened(0, type="text", text=""), opened(0, type="text", text="")),
        (START, stopped(3)),
        (opened(0, type="text", text=""),),
        (START, STOP, START),
        (START, opened(0, type="text", text=5)),
        (START, {"type": "content_block_start", "index": 0}),
    ],
)
def test_what_the_dialect_does_not_allow_is_refused(events):
    with pytest.raises(UpstreamInvalid):
        hear(*events)


@pytest.mark.parametrize("count", range(1, 5))
def test_a_stream_that_is_cut_is_incomplete(count):
    whole = [START, opened(0, type="text", text=""), grown(0, "text_delta", text="so"), settled("end_turn")]
    parser, watch = anthropic.Parser(), anthropic.Watch()
    body = frames(*whole[:count])
    parser.feed(body)
    assert watch.feed(body) == body
    for closing in (parser.close, watch.close):
        with pytest.raises(StreamIncomplete):
            closing()


def test_a_terminator_of_another_dialect_means_nothing():
    body = frames(START, settled("end_turn"), STOP) + b"data: [DONE]\n\n"
    watch = anthropic.Watch()
    assert (fold(body).ended, watch.feed(body) + watch.close()) == (True, body)
    with pytest.raises(StreamIncomplete):
        fold(frames(START) + b"data: [DONE]\n\n")


# ---------------------------------------------------------------- watching


def test_a_watch_reads_what_the_ledger_needs_and_passes_every_byte():
    body = frames(
        START,
        opened(0, type="text", text=""),
        grown(0, "text_delta", text="so"),
        stopped(0),
        settled("end_turn"),
        STOP,
    )
    watch = anthropic.Watch(hide_usage=True)
    assert (
        b"".join([watch.feed(body[at : at + 11]) for at in range(0, len(body), 11)]) + watch.close() == body
    )
    glance = watch.glance
    assert (glance.id, glance.model, glance.finish) == ("msg_1", "claude", "stop")
    assert glance.usage == ir.Usage(input=7, cache_read=3, output=9)


def test_the_first_thing_to_see_is_noticed():
    watch = anthropic.Watch()
    seen = []
    for event in (
        START,
        {"type": "ping"},
        opened(0, type="text", text=""),
        grown(0, "text_delta", text="so"),
    ):
        watch.feed(frames(event))
        seen.append(watch.visible)
    assert seen == [False, False, False, True]


def test_an_unfinished_event_after_deltas_is_not_lost_on_the_watch():
    watch = anthropic.Watch()
    watch.feed(frames(START, opened(0, type="text", text=""), grown(0, "text_delta", text="so")))
    last = frames(settled("end_turn"), STOP)
    watch.feed(last[:20])
    watch.feed(frames(grown(0, "text_delta", text="x"))[:0] + last[20:])
    assert (watch.glance.finish, watch.close()) == ("stop", b"")


def test_a_watched_error_event_is_seen():
    watch = anthropic.Watch()
    watch.feed(frames(START, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}))
    assert (watch.glance.error.status, watch.close()) == (429, b"")


# ---------------------------------------------------------------- telling


def test_a_story_of_another_dialect_is_told_in_anthropics_events():
    events = spoken(
        ir.Open(0, ir.Thinking()), ir.Delta(0, "hm"), ir.Close(0),
        ir.Open(1, ir.Text()), ir.Delta(1, "so"), ir.Delta(1, " it"), ir.Close(1),
        ir.Open(2, ir.ToolCall("c", "look")), ir.Delta(2, '{"a":1}'), ir.Close(2),
        ir.Spent(ir.Usage(input=4, cache_read=2, cache_write=1, output=5, reasoning=3)),
    )  # fmt: skip
    assert events[0]["message"] == {
        "id": "msg_c1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    assert events[1:-2] == [
        opened(0, type="thinking", thinking="", signature=""),
        grown(0, "thinking_delta", thinking="hm"),
        stopped(0),
        opened(1, type="text", text=""),
        grown(1, "text_delta", text="so"),
        grown(1, "text_delta", text=" it"),
        stopped(1),
        opened(2, type="tool_use", id="c", name="look", input={}),
        grown(2, "input_json_delta", partial_json='{"a":1}'),
        stopped(2),
    ]
    usage = events[-2]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (4, 2, 8)
    assert (usage["cache_creation_input_tokens"], usage["output_tokens_details"]) == (
        1,
        {"thinking_tokens": 3},
    )
    assert events[-1] == STOP


def test_calls_that_interleave_are_told_one_after_the_other():
    events = spoken(
        ir.Open(0, ir.ToolCall("a", "one")), ir.Open(1, ir.ToolCall("b", "two")), ir.Open(2, ir.Text()),
        ir.Delta(1, '{"b":'), ir.Delta(0, '{"a":1}'), ir.Delta(2, "so"), ir.Delta(1, "2}"),
        ir.Close(1), ir.Close(0), ir.Close(2),
    )  # fmt: skip
    assert shape(events) == [
        "message_start", "start", "delta", "stop", "start", "delta", "delta", "stop", "start", "delta", "stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [event["index"] for event in events[1:-2]] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    again = fold(frames(*events)).choices[0].parts
    assert again == [ir.ToolCall("a", "one", '{"a":1}'), ir.ToolCall("b", "two", '{"b":2}'), ir.Text("so")]


def test_a_part_that_says_nothing_has_no_block():
    events = spoken(ir.Open(0, ir.Text()), ir.Close(0), ir.Open(1, ir.Thinking()), ir.Close(1))
    assert shape(events) == ["message_start", "message_delta", "message_stop"]


def test_parts_that_nobody_closed_are_closed_at_the_end():
    events = spoken(ir.Open(0, ir.Text()), ir.Delta(0, "so"), ir.Open(1, ir.Text()), ir.Delta(1, "it"))
    assert shape(events)[1:-2] == ["start", "delta", "stop", "start", "delta", "stop"]


def test_a_custom_call_is_wrapped_as_it_streams():
    events = spoken(
        ir.Open(0, ir.ToolCall("c", "patch", kind="custom")),
        ir.Delta(0, 'a "b"\n'),
        ir.Delta(0, "é"),
        ir.Close(0),
    )
    given = "".join(
        [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    )
    assert json.loads(given) == {"input": 'a "b"\né'}


def test_a_call_without_an_id_is_given_one():
    events = spoken(
        ir.Open(0, ir.ToolCall("", "a")), ir.Close(0), ir.Open(1, ir.ToolCall("", "b")), ir.Close(1)
    )
    ids = [event["content_block"]["id"] for event in events if event["type"] == "content_block_start"]
    assert ids == ["toolu_c1_0", "toolu_c1_1"]


def test_a_seal_of_another_issuer_comes_home_through_an_anthropic_client():
    proof, thought = ir.Seal("abc:/+=", "gemini"), ir.Seal("enc", "openai", "thought")
    events = spoken(
        ir.Open(0, ir.Thinking()), ir.Delta(0, "hm"), ir.Attach(0, proof), ir.Close(0),
        ir.Open(1, ir.Thinking()), ir.Attach(1, thought), ir.Close(1),
    )  # fmt: skip
    parts = fold(frames(*events)).choices[0].parts
    assert parts == [ir.Thinking("hm", seal=proof), ir.Thinking(seal=thought)]
    history = [
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "torana:gemini:proof:abc:/+="}],
        }
    ]
    asked = anthropic.parse_request(json.dumps({"model": "m", "messages": history}).encode())
    assert asked.messages[0].parts == [ir.Thinking("hm", seal=proof)]


def test_media_in_an_answer_becomes_words():
    events = spoken(ir.Open(0, ir.Media("image", "image/png")), ir.Attach(0, data="AAAA"), ir.Close(0))
    assert "image/png" in events[1]["content_block"]["text"]


def test_a_result_on_many_lines_is_one_line_on_the_wire():
    result = ir.ToolResult(
        "s", "web_search", (ir.Data(Raw(b'[\n{"type":\n"web_search_result"}\n]')),), kind="hosted"
    )
    events = spoken(ir.Open(0, result), ir.Close(0))
    assert events[1]["content_block"]["content"] == [{"type": "web_search_result"}]


def test_a_heartbeat_is_a_ping_after_the_message_began():
    assert shape(spoken(ir.Progress()))[:2] == ["message_start", "ping"]


def test_the_message_begins_as_soon_as_it_is_known():
    renderer = anthropic.Renderer()
    assert renderer.render([ir.Start("openai_chat", "chatcmpl-1", "m")]).startswith(b"event: message_start")


def test_other_choices_have_no_place():
    events = spoken(
        ir.Open(0, ir.Text(), 1),
        ir.Delta(0, "no"),
        ir.Close(0),
        ir.Open(1, ir.Text()),
        ir.Delta(1, "yes"),
        ir.Close(1),
    )
    assert [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"] == ["yes"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("filtered", "refusal"),
        ("refused", "refusal"),
        ("paused", "pause_turn"),
        ("stop_sequence", "stop_sequence"),
        ("", "end_turn"),
    ],
)
def test_an_ending_is_told_in_anthropics_word(finish, reason):
    events = told([ir.Start("openai_chat", "x", "m"), ir.Finished(0, finish, "native"), ir.End()])
    assert events[-2]["delta"]["stop_reason"] == reason


@pytest.mark.parametrize("end", [ir.End(UpstreamError("broke", status=529)), ir.End()])
def test_a_failed_answer_ends_in_an_error_and_not_well(end):
    events = told([ir.Start("gemini", "x", "m"), ir.Finished(0, "failed", "MALFORMED_FUNCTION_CALL"), end])
    assert shape(events)[-1] == "error"
    assert events[-1]["error"]["type"] == ("overloaded_error" if end.error else "api_error")


def test_a_failure_is_told_in_band():
    wire = anthropic.Renderer().fail(UpstreamError("gone", status=504))
    assert wire == anthropic.Watch().fail(UpstreamError("gone", status=504))
    assert (
        wire == b'event: error\ndata: {"type":"error","error":{"type":"timeout_error","message":"gone"}}\n\n'
    )


def test_the_price_is_told_where_it_is_asked_for():
    events = told(
        [ir.Start("openai_chat", "x", "m"), ir.Finished(0, "stop"), ir.End()], Context(cost="0.0012")
    )
    assert events[-2]["usage"]["cost"] == 0.0012


def test_no_event_is_mistaken_for_ours():
    with pytest.raises(Error):
        anthropic.Parser().feed(b'data: {"choices":[]}\n\n')


def test_bytes_that_are_no_text_are_refused_in_a_stream():
    body = frames(START, opened(0, type="alien", a="?")).replace(b"?", b"\xff")
    with pytest.raises(UpstreamInvalid):
        anthropic.Parser().feed(body)
