"""Streams in Chat Completions: read, written, watched."""

import json

import pytest
from msgspec import Raw

from torana import ir
from torana.dialects import openai_chat
from torana.dialects.interface import Context
from torana.errors import StreamIncomplete, UpstreamError, UpstreamInvalid, UpstreamTooLarge

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DONE = b"data: [DONE]\n\n"


def sse(*payloads: dict) -> bytes:
    return b"".join([b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads])


def chunk(delta: dict, finish: str | None = None, index: int = 0, **more) -> dict:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [choice],
        **more,
    }


def spent(usage: dict = USAGE) -> dict:
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage}


def call(index: int | None = None, id: str | None = None, name: str | None = None, text: str = "") -> dict:
    found = {"index": index, "id": id, "function": {"name": name, "arguments": text}}
    return {"tool_calls": [{key: value for key, value in found.items() if value is not None}]}


def parse(body: bytes) -> list[ir.Event]:
    parser = openai_chat.Parser()
    return parser.feed(body) + parser.close()


def fold(*payloads: dict, end: bytes = DONE) -> ir.Response:
    return ir.fold(parse(sse(*payloads) + end))


def parts(*payloads: dict) -> list[ir.Part]:
    return fold(*payloads).choices[0].parts


def render(*events: ir.Event, **context) -> list[dict]:
    body = openai_chat.Renderer(Context(**context)).render(list(events))
    return [json.loads(line[6:]) for line in body.decode().split("\n\n") if line and line != "data: [DONE]"]


def deltas(chunks: list[dict]) -> list[dict]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


# ---------------------------------------------------------------- reading


def test_the_finish_reason_waits_for_the_terminator_and_the_last_one_counts():
    parser = openai_chat.Parser()
    events = parser.feed(sse(chunk({"content": "a"}), chunk({}, "stop"), chunk({}, "length")))
    assert not [event for event in events if isinstance(event, ir.Finished)]
    assert parser.feed(DONE)[-2:] == [ir.Finished(0, "length", "length"), ir.End()]


def test_content_after_the_finish_reason_is_heard():
    assert parts(chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "b"})) == [ir.Text("ab")]


def test_start_waits_for_an_id_or_a_choice():
    filtered = {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [{"x": 1}]}
    events = parse(sse(filtered, chunk({"content": "a"}), chunk({}, "stop")) + DONE)
    assert events[0] == ir.Start("openai_chat", "c", "m", 7)
    assert json.loads(bytes(ir.fold(events).extra["prompt_filter_results"])) == [{"x": 1}]


def test_an_error_before_anything_starts_and_ends_the_story():
    [start, end] = parse(sse({"error": {"message": "no", "code": 429}}))
    assert start == ir.Start("openai_chat")
    assert (end.error.message, end.error.status, end.error.native_code) == ("no", 429, "429")


def test_an_error_is_kept_back_and_what_follows_is_still_heard():
    response = fold(chunk({"content": "a"}), {"error": {"message": "no"}}, chunk({"content": "b"}))
    assert (response.choices[0].parts, response.error.message) == ([ir.Text("ab")], "no")


def test_a_call_without_index_goes_on_until_another_id():
    said = [call(None, "a", "f", "{"), call(None, None, None, "}"), call(None, "b", "g", "{}")]
    assert parts(*map(chunk, said)) == [ir.ToolCall("a", "f", "{}"), ir.ToolCall("b", "g", "{}")]


def test_interleaved_calls_keep_their_own_arguments():
    said = [call(0, "a", "f"), call(1, "b", "g"), call(0, text="1"), call(1, text="2"), call(0, text="3")]
    assert parts(*map(chunk, said)) == [ir.ToolCall("a", "f", "13"), ir.ToolCall("b", "g", "2")]


def test_a_third_call_on_one_index_does_not_write_into_the_first():
    said = [
        call(0, "a", "f", "1"),
        call(0, "b", "g"),
        call(0, text="2"),
        call(0, "c", "h"),
        call(0, text="3"),
    ]
    assert parts(*map(chunk, said)) == [
        ir.ToolCall("a", "f", "1"),
        ir.ToolCall("b", "g", "2"),
        ir.ToolCall("c", "h", "3"),
    ]


def test_a_call_whose_name_comes_late_is_opened_with_it():
    opened = parse(sse(chunk(call(0, "a")), chunk(call(0, name="f")), chunk(call(0, text="{}"))) + DONE)
    assert [event.part for event in opened if isinstance(event, ir.Open)] == [ir.ToolCall("a", "f")]


def test_a_custom_call_streams_its_input():
    said = [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "sel"}}]
    more = [{"index": 0, "custom": {"input": "ect"}}]
    assert parts(chunk({"tool_calls": said}), chunk({"tool_calls": more})) == [
        ir.ToolCall("a", "sql", "select", "custom")
    ]


def test_a_legacy_function_call_is_a_call_with_the_answers_id():
    first = {"function_call": {"name": "f", "arguments": ""}}
    response = fold(chunk(first), chunk({"function_call": {"arguments": "{}"}}), chunk({}, "function_call"))
    [part] = response.choices[0].parts
    assert (part.id, part.name, part.text, response.choices[0].finish) == ("call_c", "f", "{}", "tool_calls")


def test_a_signature_joins_the_thought_it_proves():
    detail = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    said = [
        {"reasoning": "2+", "reasoning_details": [detail | {"text": "2+"}]},
        {"reasoning": "2", "reasoning_details": [detail | {"text": "2"}]},
        {"reasoning_details": [detail | {"signature": "sig"}]},
        {"content": "4"},
    ]
    thought, text = parts(*map(chunk, said))
    assert (thought.text, thought.seal, text.text) == ("2+2", ir.Seal("sig", "anthropic"), "4")


def test_a_seal_that_comes_before_its_call_waits_for_it():
    detail = {"type": "reasoning.encrypted", "data": "d", "id": "t", "format": "google-gemini-v1", "index": 0}
    said = [{"reasoning_details": [detail]}, call(0, "t", "f", "{}")]
    assert parts(*map(chunk, said)) == [ir.ToolCall("t", "f", "{}", seal=ir.Seal("d", "gemini"))]


def test_perplexitys_whole_message_beside_the_delta_is_not_said_twice():
    repeated = chunk({"content": "b"})
    repeated["choices"][0]["message"] = {"role": "assistant", "content": "ab"}
    assert parts(chunk({"content": "a"}), repeated) == [ir.Text("ab")]


def test_togethers_text_beside_the_delta_is_not_said_twice():
    doubled = chunk({"content": "a"})
    doubled["choices"][0] |= {"text": "a", "tool_calls": None, "role": "assistant"}
    assert parts(doubled) == [ir.Text("a")]


def test_groqs_hidden_usage_is_found():
    response = fold(chunk({"content": "a"}), chunk({}, "stop", x_groq={"id": "r", "usage": USAGE}))
    assert (response.usage.input, response.usage.output) == (3, 2)


def test_usage_on_every_chunk_is_a_snapshot_and_the_last_holds():
    growing = [
        chunk({"content": "a"}, usage=USAGE | {"completion_tokens": n, "total_tokens": 3 + n}) for n in (1, 2)
    ]
    assert fold(*growing, chunk({}, "stop")).usage.output == 2


def test_logprobs_stay_with_the_part_they_score():
    scored = chunk({"content": "a"})
    scored["choices"][0]["logprobs"] = {
        "content": [
            {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1}]}
        ]
    }
    [text] = parts(scored, chunk({}, "stop"))
    assert text.logprobs == (ir.Logprob("a", -0.5, b"a", (ir.Logprob("b", -1.0),)),)


def test_annotations_that_precede_their_text_wait_for_it():
    cited = {"type": "url_citation", "url": "https://x.test", "title": "t"}
    [text] = parts(chunk({"annotations": [cited]}), chunk({"content": "a"}))
    assert text.citations == (ir.Citation("url", "https://x.test", "t"),)


def test_nothing_counts_after_the_end():
    parser = openai_chat.Parser()
    parser.feed(sse(chunk({"content": "a"}), chunk({}, "stop")) + DONE)
    assert parser.feed(sse(chunk({"content": "b"}))) == []
    assert parser.close() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        sse(chunk({"content": "a"})),
        sse(chunk({"content": "a"}), chunk({}, "stop"))[:-1] + b"data: {",
        sse(chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "b"}, index=1)),
        sse(chunk({"content": "a"})) + b"data: [DONE]"[:-1],
    ],
)
def test_a_story_without_its_end_raises_for_parser_and_watch(body):
    with pytest.raises(StreamIncomplete):
        parse(body)
    for hide in (False, True):
        watch = openai_chat.Watch(hide_usage=hide)
        watch.feed(body)
        with pytest.raises(StreamIncomplete):
            watch.close()


@pytest.mark.parametrize(
    "body", [b"data: {\n\n", b"data: hello\n\n", b"data: [1]\n\n", DONE, b'data: {"id":"\xff"}\n\n']
)
def test_bytes_that_are_no_stream_of_chunks_are_refused(body):
    with pytest.raises(UpstreamInvalid):
        parse(body)
    with pytest.raises(UpstreamInvalid):
        openai_chat.Watch().feed(body)


def test_a_chunk_of_a_shape_nobody_knows_is_refused_by_the_parser_and_relayed_by_the_watch():
    body = b'data: {"choices":[{"delta":{"content":7}}]}\n\n'
    with pytest.raises(UpstreamInvalid):
        parse(body)
    assert openai_chat.Watch().feed(body) == body


# ---------------------------------------------------------------- writing

STORY = ir.Response(
    dialect="anthropic",
    id="msg_1",
    model="claude",
    choices=[ir.Choice(0, [ir.Text("Hi"), ir.ToolCall("a", "f", "")], "tool_calls", "tool_use")],
    usage=ir.Usage(input=2, cache_read=1, output=3),
    ended=True,
)


def test_compat_7_one_id_and_model_on_every_chunk_and_a_reason_on_the_last_alone():
    chunks = render(*ir.unfold(STORY), id="chatcmpl-1", model="fast", created=9)
    assert {(c["id"], c["model"], c["created"], c["object"]) for c in chunks} == {
        ("chatcmpl-1", "fast", 9, "chat.completion.chunk")
    }
    reasons = [choice["finish_reason"] for c in chunks for choice in c["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["tool_calls"]


def test_d1_every_chunk_but_the_last_has_a_null_finish_reason():
    for c in render(*ir.unfold(STORY))[:-2]:
        assert c["choices"][0]["finish_reason"] is None


def test_d3_a_call_without_arguments_streams_the_empty_object():
    said = [d["tool_calls"][0] for d in deltas(render(*ir.unfold(STORY))) if "tool_calls" in d]
    assert "".join([call["function"]["arguments"] for call in said]) == "{}"
    assert (said[0]["index"], said[0]["id"], said[0]["type"]) == (0, "a", "function")


def test_tool_calls_are_counted_from_0_in_each_choice():
    calls = [ir.ToolCall("a", "f", "{}"), ir.ToolCall("b", "g", "{}")]
    story = ir.Response(choices=[ir.Choice(0, calls, "tool_calls"), ir.Choice(1, calls[:1], "tool_calls")])
    found = [
        (choice["index"], call["index"], call.get("id"))
        for c in render(*ir.unfold(story))
        for choice in c["choices"]
        for call in choice["delta"].get("tool_calls", [])
        if "id" in call
    ]
    assert found == [(0, 0, "a"), (0, 1, "b"), (1, 0, "a")]


def test_usage_is_told_to_those_who_asked_and_adds_up():
    [last] = render(*ir.unfold(STORY))[-1:]
    assert (last["choices"], last["usage"]["prompt_tokens"], last["usage"]["total_tokens"]) == ([], 3, 6)
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    assert all("usage" not in c for c in render(*ir.unfold(STORY), want_usage=False))


def test_the_cost_is_told_when_there_is_one():
    assert render(*ir.unfold(STORY), cost="0.00012")[-1]["usage"]["cost"] == 0.00012


def test_a_good_end_has_its_terminator_and_a_bad_one_has_not():
    good = openai_chat.Renderer().render(ir.unfold(STORY))
    assert good.endswith(DONE)
    renderer = openai_chat.Renderer()
    renderer.render(ir.unfold(STORY)[:3])
    failed = renderer.fail(StreamIncomplete("the stream ended before the answer did"))
    assert b"[DONE]" not in failed
    assert json.loads(failed[6:])["error"]["code"] == "stream_incomplete"
    ended = openai_chat.Renderer().render([ir.Start("", "r", "m"), ir.End(UpstreamError("no", status=429))])
    assert b"[DONE]" not in ended
    assert json.loads(ended.split(b"\n\n")[-2][6:])["error"]["type"] == "rate_limit_error"


def test_a_foreign_thought_is_said_in_three_spellings_and_its_proof_follows():
    thought = [
        ir.Start("anthropic", "r", "m"),
        ir.Open(0, ir.Thinking()),
        ir.Delta(0, "2+2"),
        ir.Attach(0, ir.Seal("sig", "anthropic")),
        ir.Close(0),
    ]
    _, said, proof = deltas(render(*thought))
    assert said["reasoning"] == said["reasoning_content"] == "2+2"
    assert said["reasoning_details"] == [{"type": "reasoning.text", "index": 0, "text": "2+2"}]
    assert proof["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "signature": "sig", "format": "anthropic-claude-v1"}
    ]


def test_a_redacted_thought_is_an_encrypted_detail():
    redacted = ir.Thinking(seal=ir.Seal("d", "anthropic", "thought"))
    said = deltas(render(ir.Start("anthropic", "r", "m"), ir.Open(0, redacted), ir.Close(0)))[-1]
    assert said["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1", "index": 0}
    ]


def test_a_sealed_thought_that_a_client_merged_comes_back_whole():
    story = ir.Response(
        dialect="anthropic",
        choices=[
            ir.Choice(
                0,
                [
                    ir.Thinking("a", seal=ir.Seal("s1", "anthropic")),
                    ir.Thinking("b", seal=ir.Seal("s2", "anthropic")),
                    ir.Text("c"),
                ],
                "stop",
            )
        ],
        ended=True,
    )
    merged: dict[int, dict] = {}
    for delta in deltas(render(*ir.unfold(story))):
        for detail in delta.get("reasoning_details", []):
            known = merged.setdefault(detail["index"], {})
            merged[detail["index"]] = (
                known | detail | {"text": known.get("text", "") + detail.get("text", "")}
            )
    message = {"role": "assistant", "content": "c", "reasoning_details": list(merged.values())}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    back = openai_chat.parse_request(body).messages[0].parts
    assert [(p.text, getattr(p, "seal", None)) for p in back] == [
        ("a", ir.Seal("s1", "anthropic")),
        ("b", ir.Seal("s2", "anthropic")),
        ("c", None),
    ]


def test_a_custom_call_is_streamed_as_one():
    story = ir.Response(choices=[ir.Choice(0, [ir.ToolCall("a", "sql", "select", "custom")], "tool_calls")])
    said = [d["tool_calls"][0] for d in deltas(render(*ir.unfold(story))) if "tool_calls" in d]
    assert [call["custom"]["input"] for call in said] == ["", "select"]


def test_citations_of_a_later_text_move_with_it():
    where = ir.Span(0, 2)
    later = ir.Text("cd", (ir.Citation("url", "https://x.test", "t", where=where),))
    story = ir.Response(choices=[ir.Choice(0, [ir.Text("ab"), later], "stop")])
    [cited] = [
        d["annotations"][0]["url_citation"] for d in deltas(render(*ir.unfold(story))) if "annotations" in d
    ]
    assert (cited["start_index"], cited["end_index"]) == (2, 4)


def test_what_the_provider_ran_itself_is_not_shown_as_a_call_to_answer():
    hosted = [ir.ToolCall("a", "web_search", "{}", "hosted"), ir.ToolResult("a", "web_search", kind="hosted")]
    story = ir.Response(dialect="anthropic", choices=[ir.Choice(0, [*hosted, ir.Text("Hi")], "stop")])
    assert not [d for d in deltas(render(*ir.unfold(story))) if "tool_calls" in d]


def test_pretty_printed_unknown_fields_stay_on_one_line():
    story = ir.Response(
        dialect="openai_chat", choices=[ir.Choice(0, [], "stop")], extra={"x": Raw(b'{\n"a":\r\n1}')}
    )
    assert {"a": 1} in [c.get("x") for c in render(*ir.unfold(story))]


# ---------------------------------------------------------------- watching


def watch_all(body: bytes, size: int, *, hide: bool) -> tuple[openai_chat.Watch, bytes]:
    watch = openai_chat.Watch(hide_usage=hide)
    passed = b"".join([watch.feed(body[at : at + size]) for at in range(0, len(body), size)])
    return watch, passed + watch.close()


STREAM = (chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({}, "stop"), spent())


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_a_hidden_usage_chunk_leaves_no_trace_however_it_arrives(size, ending):
    body = (sse(*STREAM) + DONE).replace(b"\n", ending)
    watch, passed = watch_all(body, size, hide=True)
    kept = (sse(*STREAM[:-1]) + DONE).replace(b"\n", ending)
    assert passed.replace(b"\r\n", b"\n").strip() == kept.replace(b"\r\n", b"\n").strip()
    assert (watch.glance.usage.input, watch.glance.finish) == (3, "stop")


def test_usage_beside_a_choice_is_not_hidden():
    body = sse(chunk({"content": "a"}), chunk({}, "stop", usage=USAGE)) + DONE
    assert watch_all(body, 7, hide=True)[1] == body


def test_an_unfinished_event_is_passed_on_as_soon_as_it_cannot_be_usage_alone():
    watch = openai_chat.Watch(hide_usage=True)
    event = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    assert watch.feed(event[:10]) == b""
    assert watch.feed(event[10:40]) == event[:40]
    assert watch.feed(event[40:]) == event[40:]


def test_the_first_visible_content_is_noticed():
    watch = openai_chat.Watch()
    watch.feed(sse(chunk({"role": "assistant", "content": ""})))
    assert not watch.visible
    watch.feed(sse(chunk({"content": "a"})))
    assert watch.visible


@pytest.mark.parametrize(
    "said", [{"reasoning_content": "a"}, {"reasoning": "a"}, {"refusal": "a"}, call(0, "a", "f")]
)
def test_thoughts_refusals_and_calls_are_visible(said):
    watch = openai_chat.Watch()
    watch.feed(sse(chunk(said)))
    assert watch.visible


def test_a_watch_notices_an_error_and_then_asks_for_no_end():
    watch = openai_chat.Watch()
    body = sse(chunk({"content": "a"}), {"error": {"message": "no", "type": "server_error", "code": None}})
    assert watch.feed(body) + watch.close() == body
    assert (watch.glance.error.message, watch.glance.error.kind) == ("no", "server_error")


def test_a_watch_fails_in_band_without_a_terminator():
    failed = openai_chat.Watch().fail(UpstreamError("no", status=500))
    assert json.loads(failed.removeprefix(b"data: "))["error"]["message"] == "no"
    assert b"[DONE]" not in failed


def test_an_event_longer_than_the_limit_is_refused_also_when_held():
    watch = openai_chat.Watch(hide_usage=True)
    piece = b"x" * (1024 * 1024)
    watch.feed(b"data: ")
    for _ in range(7):
        watch.feed(piece)
    with pytest.raises(UpstreamTooLarge):
        watch.feed(piece)
