"""Whole answers, errors and usage in Chat Completions; the hard cases of the record by name."""

import json

import pytest

from torana import ir
from torana.dialects import openai_chat
from torana.dialects.interface import Context
from torana.errors import (
    Forbidden,
    InvalidRequest,
    Overloaded,
    StreamIncomplete,
    UpstreamError,
    UpstreamInvalid,
)

import corpus


def answer(message: dict, finish: str | None = "stop", **more) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"id": "c", "created": 7, "model": "m", "choices": [choice], **more}).encode()


def parse(message: dict, finish: str | None = "stop", **more) -> ir.Response:
    return ir.fold(openai_chat.parse_response(answer(message, finish, **more)))


def usage(**stated) -> ir.Usage:
    return parse({"content": "a"}, usage=stated).usage


def written(*parts: ir.Part, finish: ir.Finish = "stop", dialect: str = "anthropic", **fields) -> dict:
    response = ir.Response(dialect=dialect, choices=[ir.Choice(0, list(parts), finish)], ended=True, **fields)
    return json.loads(openai_chat.render_response(response, Context(id="r", model="m", created=1)).body)


def message(*parts: ir.Part, **fields) -> dict:
    return written(*parts, **fields)["choices"][0]["message"]


# ---------------------------------------------------------------- reading


def test_every_finish_reason_on_record_has_its_meaning():
    words = ("stop", "eos", "length", "tool_calls", "tool_call", "content_filter", "stop_sequence", "", "new")
    assert [parse({"content": "a"}, word).choices[0].finish for word in words] == [
        "stop", "stop", "length", "tool_calls", "tool_calls", "filtered", "stop_sequence", "", "stop",
    ]  # fmt: skip


def test_a_function_call_is_a_call_and_goes_home_as_it_came():
    response = parse({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call")
    [part] = response.choices[0].parts
    assert (part.id, part.name, response.choices[0].finish) == ("call_c", "f", "tool_calls")
    [choice] = json.loads(openai_chat.render_response(response).body)["choices"]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("function_call", False)


def test_an_audio_answer_keeps_its_bytes_transcript_and_id():
    audio = {"id": "au", "data": "UklGRg==", "expires_at": 9, "transcript": "Hi"}
    response = parse({"content": None, "audio": audio})
    [part] = response.choices[0].parts
    assert (part.kind, part.data, part.text, part.item) == ("audio", "UklGRg==", "Hi", "au")
    assert json.loads(openai_chat.render_response(response).body)["choices"][0]["message"]["audio"] == audio


def test_generated_images_are_media():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    response = parse({"content": "Here", "images": [image]})
    assert response.choices[0].parts == [ir.Text("Here"), ir.Media("image", "image/png", "iVBORw0KGgo=")]
    assert message(*response.choices[0].parts)["images"] == [image]


def test_structured_content_is_data_and_is_written_as_its_text():
    response = parse({"content": {"a": 1}})
    assert json.loads(bytes(response.choices[0].parts[0].value)) == {"a": 1}
    assert message(*response.choices[0].parts)["content"] == '{"a":1}'


def test_citations_hang_on_the_text_with_their_spans():
    inner = {"url": "https://x.test", "title": "t", "content": "q", "start_index": 1, "end_index": 4}
    annotation = {"type": "url_citation", "url_citation": inner}
    response = parse({"content": "abcdef", "annotations": [annotation]})
    [text] = response.choices[0].parts
    assert text.citations == (ir.Citation("url", "https://x.test", "t", "q", ir.Span(1, 4)),)
    assert message(text)["annotations"] == [annotation]


def test_an_annotation_of_another_type_goes_home_as_it_came():
    annotation = {"type": "file", "file": {"hash": "h", "name": "a.pdf"}}
    response = parse({"content": "a", "annotations": [annotation]})
    [back] = json.loads(openai_chat.render_response(response).body)["choices"][0]["message"]["annotations"]
    assert back == annotation


def test_unknown_fields_go_home_to_where_they_stood():
    response = parse({"content": "a", "mood": 1}, x_vendor={"y": 2}, usage={"prompt_tokens": 1, "lane": 3})
    back = json.loads(openai_chat.render_response(response).body)
    assert (back["choices"][0]["message"]["mood"], back["x_vendor"], back["usage"]["lane"]) == (
        1,
        {"y": 2},
        3,
    )


def test_an_error_object_in_a_good_answer_ends_it():
    body = json.dumps({"error": {"message": "no", "code": 502}, "user_id": "u"}).encode()
    response = ir.fold(openai_chat.parse_response(body))
    assert (response.error.message, response.error.status, response.choices) == ("no", 502, [])
    assert openai_chat.glance(body).error.message == "no"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"choices":[]}', b"[]", b'{"choices":[{"delta":{}}]}']
)
def test_what_is_no_answer_is_refused(body):
    with pytest.raises(UpstreamInvalid):
        openai_chat.parse_response(body)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b'{"choices":7}', b'{"usage":{"prompt_tokens":"x"}}']
)
def test_a_glance_at_what_cannot_be_read_knows_nothing(body):
    assert openai_chat.glance(body).usage is None


# ---------------------------------------------------------------- usage


def test_compat_3_the_total_is_prompt_and_completion_and_cached_tokens_are_inside():
    spent = ir.Usage(input=10, cache_read=30, cache_write=5, cache_write_1h=2, output=7, reasoning=3)
    stated = written(ir.Text("a"), usage=spent)["usage"]
    assert (stated["prompt_tokens"], stated["completion_tokens"], stated["total_tokens"]) == (47, 10, 57)
    assert stated["prompt_tokens_details"] == {
        "cached_tokens": 30,
        "cache_write_tokens": 7,
        "cache_write_details": {"write_5m_tokens": 5, "write_1h_tokens": 2},
    }
    assert stated["completion_tokens_details"] == {"reasoning_tokens": 3}
    back = usage(**stated)
    assert (back.input, back.cache_read, back.cache_write, back.cache_write_1h) == (10, 30, 5, 2)


@pytest.mark.parametrize(
    "place",
    [
        {"prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_token_details": {"cached_tokens": 6}},
        {"prompt_tokens_details": {"cached_tokens": 0, "cache_read_input_tokens": 6}},
        {"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        {"cached_tokens": 6},
        {"num_cached_tokens": 6},
        {"cache_read_input_tokens": 6},
    ],
)
def test_cached_tokens_are_found_wherever_a_provider_says_them(place):
    found = usage(prompt_tokens=10, completion_tokens=1, total_tokens=11, **place)
    assert (found.input, found.cache_read) == (4, 6)


def test_a_part_larger_than_its_whole_is_cut_and_the_numbers_as_sent_are_kept():
    found = usage(prompt_tokens=10, completion_tokens=2, completion_tokens_details={"reasoning_tokens": 9})
    assert (found.output, found.reasoning) == (0, 2)
    assert json.loads(bytes(found.extra["completion_tokens_details"])) == {"reasoning_tokens": 9}


def test_a_total_that_nobody_explains_fills_other():
    found = usage(prompt_tokens=10, completion_tokens=2, total_tokens=15)
    assert (found.other, found.total) == (3, 15)


def test_a_total_smaller_than_its_parts_says_nothing():
    assert usage(prompt_tokens=10, completion_tokens=2, total_tokens=0).total is None


def test_a_price_is_kept_as_the_text_it_was_sent_as():
    assert usage(prompt_tokens=1, cost=0.00010).cost == "0.0001"
    assert usage(prompt_tokens=1, cost={"total_cost": 0.006, "request_cost": 0.005}).cost == "0.006"


def test_searches_are_counted_as_calls():
    assert usage(prompt_tokens=1, num_search_queries=2).calls == {"web_search": 2}
    assert usage(prompt_tokens=1, server_tool_use_details={"web_search_requests": 1}).calls == {
        "web_search": 1
    }


# ---------------------------------------------------------------- writing


def test_d2_and_compat_11_whole_tool_calls_have_no_index_and_keep_their_ids_and_texts_join():
    said = message(
        ir.Text("a"), ir.Thinking("t"), ir.ToolCall("x", "f", '{"a":1}'), ir.Text("b"), finish="tool_calls"
    )
    assert said["content"] == "ab"
    assert said["reasoning_content"] == said["reasoning"] == "t"
    function = {"name": "f", "arguments": '{"a":1}'}
    assert said["tool_calls"] == [{"id": "x", "type": "function", "function": function}]


def test_a_call_without_arguments_has_the_empty_object():
    assert message(ir.ToolCall("x", "f"))["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_sealed_thought_is_a_detail():
    said = message(ir.Thinking("t", seal=ir.Seal("s", "anthropic")), ir.Text("a"))
    assert said["reasoning_details"] == [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    ]


def test_a_refused_answer_stops_with_a_refusal_and_is_filtered_without_one():
    assert written(ir.Refusal("No."), finish="refused")["choices"][0]["finish_reason"] == "stop"
    assert written(ir.Text("I"), finish="refused")["choices"][0]["finish_reason"] == "content_filter"


def test_what_the_provider_ran_itself_is_reported_as_lost():
    parts = [ir.ToolCall("a", "web_search", "{}", "hosted"), ir.Text("Hi")]
    response = ir.Response(dialect="anthropic", choices=[ir.Choice(0, parts, "stop")], ended=True)
    rendered = openai_chat.render_response(response)
    assert [(loss.where, loss.how) for loss in rendered.losses] == [("content[web_search]", "dropped")]


def test_the_context_names_the_answer():
    body = written(ir.Text("a"))
    assert (body["id"], body["model"], body["created"], body["object"]) == ("r", "m", 1, "chat.completion")


# ---------------------------------------------------------------- errors


def test_d23_a_providers_words_reach_the_caller_unchanged():
    sent = {
        "message": "no such model",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    error = openai_chat.parse_error(404, json.dumps({"error": sent}).encode())
    assert json.loads(openai_chat.render_error(error)) == {"error": sent}
    assert error.status == 404


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Forbidden("x"), "permission_error"),
        (Overloaded("x"), "server_error"),
        (StreamIncomplete("x"), "server_error"),
        (UpstreamError("x", status=429), "rate_limit_error"),
        (UpstreamError("x", status=401), "authentication_error"),
    ],
)
def test_an_error_without_a_type_gets_openais_word_for_its_status(error, kind):
    assert json.loads(openai_chat.render_error(error))["error"]["type"] == kind


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"<html>no</html>", b"null", b"[]", b'""', b"{}", b"[" * 9000]
)
def test_an_error_without_words_still_says_its_status(body):
    error = openai_chat.parse_error(503, body)
    assert (error.status, bool(error.message)) == (503, True)


def test_numbers_out_of_range_inside_an_error_are_no_crash():
    body = b'{"choices":[],"error":{"message":"no","code":1e999}}'
    assert openai_chat.glance(body).error.status == 502
    watch = openai_chat.Watch()
    watch.feed(b"data: " + body + b"\n\n")
    assert watch.glance.error is not None


def test_a_retry_hint_inside_the_body_is_kept():
    body = json.dumps({"error": {"message": "slow", "metadata": {"retry_after_seconds": 7}}}).encode()
    assert openai_chat.parse_error(429, body).retry_after_s == 7


# ---------------------------------------------------------------- the hard cases of the record


def recorded(id: str) -> ir.Response:
    corpus.require()
    response = corpus.by_id()[id]["response"]
    body = corpus.body(response)
    if not response["streaming"]:
        return ir.fold(openai_chat.parse_response(body))
    parser = openai_chat.Parser()
    return ir.fold(parser.feed(body) + parser.close())


def of(kind: type, response: ir.Response, choice: int = 0) -> list:
    return [part for part in response.choices[choice].parts if isinstance(part, kind)]


def test_openrouter_0059_fifteen_calls_on_one_index_survive_the_error():
    response = recorded("openrouter-chat-0059e9f52325185d")
    calls = of(ir.ToolCall, response)
    assert len(calls) == len({call.id for call in calls}) == 15
    assert response.error is not None
    assert response.ended


def test_openai_14eb_two_choices_interleave_with_a_call_of_one_id_each():
    response = recorded("openai-chat-14eb1d987a66abbc")
    assert len(response.choices) == 2
    first, second = of(ir.ToolCall, response, 0), of(ir.ToolCall, response, 1)
    assert first and second
    assert [choice.finish for choice in response.choices] == ["tool_calls", "tool_calls"]


def test_openai_2d63_an_audio_answer_goes_on_after_its_error():
    response = recorded("openai-chat-2d630c5682971178")
    [sound] = of(ir.Media, response)
    assert (sound.kind, bool(sound.item), bool(sound.text)) == ("audio", True, True)
    assert response.error is not None


def test_deepseek_422e_thoughts_and_text_are_scored_apart():
    response = recorded("deepseek-chat-422e80be56ccaeba")
    [thought], [text] = of(ir.Thinking, response), of(ir.Text, response)
    assert "".join(score.token for score in thought.logprobs) == thought.text
    assert "".join(score.token for score in text.logprobs) == text.text


def test_mistral_1dfb_a_reference_stands_between_the_texts():
    response = recorded("mistral-chat-1dfb529429f71520")
    assert [type(part) for part in response.choices[0].parts] == [ir.Text, ir.Opaque, ir.Text]
    [reference] = of(ir.Opaque, response)
    assert json.loads(bytes(reference.raw)) == {"type": "reference", "reference_ids": []}
    rendered = openai_chat.render_response(response)
    assert rendered.losses == ()
    content = json.loads(rendered.body)["choices"][0]["message"]["content"]
    assert [element["type"] for element in content] == ["text", "reference", "text"]


def test_vercel_01c1_encrypted_thoughts_parallel_calls_and_late_metadata_are_kept():
    response = recorded("vercel-gateway-chat-01c1cb7d841f8435")
    sealed = [part for part in of(ir.Thinking, response) if part.seal]
    assert {part.seal.holds for part in sealed} == {"thought"}
    assert {part.seal.issuer for part in sealed} == {"openai"}
    assert len(of(ir.ToolCall, response)) == 2
    assert b"provider_metadata" in bytes(response.choices[0].extra["message"])


def test_xai_01da_reasoning_stands_beside_completion():
    spent = recorded("xai-chat-01dae73526d28b15").usage
    assert spent.reasoning > 0
    assert spent.total == spent.prompt + spent.output + spent.reasoning
