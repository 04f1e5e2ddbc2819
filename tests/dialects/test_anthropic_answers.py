"""Whole answers and errors of Anthropic's, both ways."""

import json

import pytest
from msgspec import Raw

from torana import ir
from torana.dialects import anthropic
from torana.dialects.interface import Context
from torana.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    StreamIncomplete,
    Unauthorized,
    UpstreamError,
    UpstreamInvalid,
)


def answer(*blocks: dict, **fields: object) -> bytes:
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": blocks,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    return json.dumps(whole | fields).encode()


def read(*blocks: dict, **fields: object) -> ir.Response:
    return ir.fold(anthropic.parse_response(answer(*blocks, **fields)))


def response(*parts: ir.Part, dialect: str = "openai_chat", **fields: object) -> ir.Response:
    choice = ir.Choice(0, list(parts), "stop", "stop")
    return ir.Response(dialect=dialect, id="chatcmpl-1", model="gpt", choices=[choice], ended=True, **fields)


def write(whole: ir.Response, context: Context = Context(id="c1", model="claude")) -> dict:
    return json.loads(anthropic.render_response(whole, context).body)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "paused"),
        ("refusal", "refused"),
        ("tired", "stop"),
        (None, ""),
    ],
)
def test_every_stop_reason_has_a_finish_and_keeps_its_word(reason, finish):
    choice = read(stop_reason=reason).choices
    found = choice[0] if choice else ir.Choice(0)
    assert (found.finish, found.native) == (finish, reason or "")


def test_a_refusal_keeps_what_explains_it():
    details = {"type": "refusal", "category": "cyber"}
    found = read(stop_reason="refusal", stop_details=details)
    assert json.loads(bytes(found.choices[0].extra["stop_details"])) == details
    assert json.loads(anthropic.render_response(found).body)["stop_details"] == details


def test_usage_is_read_in_classes_that_do_not_overlap():
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "cache_read_input_tokens": 5,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "service_tier": "standard",
        "inference_geo": "eu",
    }
    found = read(usage=usage)
    assert found.tier == "standard"
    assert found.usage == ir.Usage(
        input=10,
        cache_read=5,
        cache_write=20,
        cache_write_1h=30,
        output=5,
        reasoning=4,
        calls={"web_search": 2, "web_fetch": 0},
        extra={"inference_geo": Raw(b'"eu"')},
    )
    assert json.loads(anthropic.render_response(found).body)["usage"] == usage


@pytest.mark.parametrize(
    ("usage", "classes"),
    [
        ({"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 8}}, ir.Usage(reasoning=3)),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 6}}, ir.Usage(cache_write_1h=6)),
        (
            {"cache_creation_input_tokens": 4, "cache_creation": {"ephemeral_1h_input_tokens": 6}},
            ir.Usage(cache_write_1h=4),
        ),
        ({"input_tokens": None}, ir.Usage()),
    ],
)
def test_no_class_of_usage_is_negative_or_counted_twice(usage, classes):
    assert read(usage=usage).usage == classes


def test_counts_that_are_no_counts_are_refused():
    with pytest.raises(UpstreamInvalid):
        read(usage={"input_tokens": -1})


PLACES = [
    (
        {"type": "char_location", "document_index": 2, "document_title": "T", "start_char_index": 1, "end_char_index": 4},
        ir.Citation("document", "2", "T", "q", place=ir.Span(1, 4)),
    ),
    (
        {"type": "page_location", "document_index": 0, "document_title": "T", "start_page_number": 1, "end_page_number": 2},
        ir.Citation("document", "0", "T", "q", place=ir.Span(1, 2, "page")),
    ),
    (
        {"type": "content_block_location", "document_index": 0, "document_title": "T", "start_block_index": 1, "end_block_index": 2},
        ir.Citation("document", "0", "T", "q", place=ir.Span(1, 2, "block")),
    ),
    (
        {"type": "web_search_result_location", "url": "https://a.org", "title": "T", "encrypted_index": "e"},
        ir.Citation("url", "https://a.org", "T", "q", extra={"encrypted_index": Raw(b'"e"')}),
    ),
    (
        {"type": "search_result_location", "source": "s", "title": "T", "search_result_index": 0, "start_block_index": 1, "end_block_index": 2},
        ir.Citation("tool", "s", "T", "q", place=ir.Span(1, 2, "block"), extra={"search_result_index": Raw(b"0")}),
    ),
    (
        {"type": "dream_location", "depth": 3},
        ir.Citation("document", quote="q", extra={"type": Raw(b'"dream_location"'), "depth": Raw(b"3")}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("place", "citation"), PLACES)
def test_every_kind_of_citation_is_read_and_written_again(place, citation):
    cited = place | {"cited_text": "q"}
    found = read({"type": "text", "text": "so", "citations": [cited]})
    assert found.choices[0].parts == [ir.Text("so", (citation,))]
    assert json.loads(anthropic.render_response(found).body)["content"][0]["citations"] == [cited]


def test_what_a_hosted_tool_did_is_a_call_and_a_result():
    blocks = [
        {"type": "mcp_tool_use", "id": "m", "name": "ask", "server_name": "wiki", "input": {"a": 1}},
        {
            "type": "mcp_tool_result",
            "tool_use_id": "m",
            "is_error": False,
            "content": [{"type": "text", "text": "x"}],
        },
        {"type": "server_tool_use", "id": "s", "name": "web_fetch", "input": {}},
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s",
            "content": {"type": "web_fetch_tool_result_error", "error_code": "url_too_long"},
        },
    ]
    found = read(*blocks)
    call, result, fetch, failed = found.choices[0].parts
    assert (call.kind, call.namespace, call.name) == ("hosted", "wiki", "ask")
    assert (result.kind, result.name, result.parts, result.failed) == (
        "hosted",
        "mcp",
        (ir.Text("x"),),
        False,
    )
    assert (fetch.kind, fetch.text, failed.failed) == ("hosted", "{}", True)
    assert json.loads(anthropic.render_response(found).body)["content"] == blocks


def test_an_answer_that_is_an_error_says_so():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    found, glance = ir.fold(anthropic.parse_response(body)), anthropic.glance(body)
    assert (found.ended, found.error.status, glance.error.status) == (True, 529, 529)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"choices":[]}',
        b'{"type":"message"}',
        b"\xff",
        answer({"type": "alien", "a": "?"}).replace(b"?", b"\xff"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_refused(body):
    with pytest.raises(UpstreamInvalid):
        anthropic.parse_response(body)


# ---------------------------------------------------------------- writing


def test_an_answer_of_another_dialect_has_anthropics_shape():
    whole = response(
        ir.Thinking("hm"),
        ir.Text("so"),
        ir.ToolCall("c", "look", '{"a":1}'),
        usage=ir.Usage(input=40, cache_read=60, output=7),
    )
    assert write(whole) == {
        "id": "msg_c1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "c", "name": "look", "input": {"a": 1}},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 40,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 60,
            "output_tokens": 7,
        },
    }


def test_an_id_begins_as_anthropics_do():
    assert write(response(), Context())["id"] == "msg_chatcmpl-1"
    assert write(response(), Context(id="msg_9"))["id"] == "msg_9"


def test_what_has_no_block_becomes_words_and_is_named():
    whole = response(
        ir.Refusal("I will not"),
        ir.Media("image", url="https://a.org/x.png"),
        ir.Opaque("gemini", Raw(b"{}")),
        ir.Text("so", (ir.Citation("url", "https://a.org", where=ir.Span(0, 1)),)),
        extra={"timings": Raw(b"{}")},
    )
    rendered = anthropic.render_response(whole)
    content = json.loads(rendered.body)["content"]
    assert [block["text"] for block in content] == ["I will not", "https://a.org/x.png", "so"]
    assert content[2]["citations"][0]["type"] == "web_search_result_location"
    assert [(loss.where, loss.how) for loss in rendered.losses] == [
        ("content.1", "rewritten"),
        ("content.2", "dropped"),
        ("content.3.citations", "rewritten"),
        ("timings", "dropped"),
    ]


def test_arguments_that_are_no_object_are_wrapped_and_named():
    rendered = anthropic.render_response(response(ir.ToolCall("c", "n", '{"a":')))
    assert json.loads(rendered.body)["content"][0]["input"] == {"INVALID_JSON": '{"a":'}
    assert [loss.where for loss in rendered.losses] == ["content.0.input"]


def test_a_half_answer_is_not_rendered_as_whole():
    half = response(ir.Text("so"))
    half.ended = False
    with pytest.raises(StreamIncomplete):
        anthropic.render_response(half)
    failed = response()
    failed.choices[0].finish = "failed"
    with pytest.raises(UpstreamError):
        anthropic.render_response(failed)
    with pytest.raises(UpstreamError, match="broke"):
        anthropic.render_response(response(error=UpstreamError("broke")))


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Unauthorized("x"), "authentication_error"),
        (NotFound("x"), "not_found_error"),
        (Overloaded("x"), "overloaded_error"),
        (UpstreamError("x", status=402), "billing_error"),
        (UpstreamError("x", status=403), "permission_error"),
        (UpstreamError("x", status=413), "request_too_large"),
        (UpstreamError("x", status=422), "invalid_request_error"),
        (UpstreamError("x", status=429), "rate_limit_error"),
        (UpstreamError("x", status=502), "api_error"),
        (UpstreamError("x", status=529), "overloaded_error"),
        (UpstreamError("x", status=429, kind="billing_error"), "billing_error"),
        (UpstreamError("x", status=429, kind="insufficient_quota"), "rate_limit_error"),
    ],
)
def test_an_error_has_anthropics_word_for_it(error, kind):
    assert json.loads(anthropic.render_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            "Overloaded",
            "overloaded_error",
        ),
        (b'{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}', "bad", "INVALID_ARGUMENT"),
        (b'[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]', "bad", "INVALID_ARGUMENT"),
        (b'{"message":"Input is too long."}', "Input is too long.", ""),
        (b'{"error":"no"}', "no", ""),
        (b'{"detail":"gone"}', "gone", ""),
        (b"upstream connect error", "upstream connect error", ""),
        (b"<html>" + b"x" * 9000, "<html>" + "x" * 494, ""),
        (b"", "the provider answered 529 without a word", ""),
        (b"\xff\xfe", "\ufffd\ufffd", ""),
    ],
)
def test_an_error_of_any_shape_keeps_its_message(body, message, kind):
    error = anthropic.parse_error(529, body)
    assert (error.status, error.message, error.kind) == (529, message, kind)


def test_the_providers_id_of_a_failed_request_can_be_read():
    assert anthropic.request_id(b'{"type":"error","error":{},"request_id":"req_7"}') == "req_7"
    assert anthropic.request_id(b"<html>") == ""
