"""Requests in Chat Completions: what is refused, what is carried, what one target's accent makes of it.

The file is long because reading and writing a request are tested with the same few words."""

import json

import pytest
from msgspec import Raw

from torana import ir
from torana.dialects import openai_chat
from torana.dialects.interface import Edits
from torana.errors import DuplicateKey, InvalidJson, InvalidRequest, UnsupportedContent
from torana.records import Accent, Traits

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def parse(**fields) -> ir.Request:
    return openai_chat.parse_request(json.dumps(HELLO | fields).encode())


def written(request: ir.Request, **traits) -> dict:
    return json.loads(openai_chat.render_request(request, Traits(**traits)).body)


def losses(request: ir.Request, **traits) -> list[tuple[str, str]]:
    rendered = openai_chat.render_request(request, Traits(**traits))
    return [(loss.where, loss.how) for loss in rendered.losses]


def foreign(*messages: ir.Message, **fields) -> ir.Request:
    return ir.Request(dialect="anthropic", model="m", messages=list(messages), **fields)


# ---------------------------------------------------------------- the envelope


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("model", 7, "model"),
        ("messages", {}, "messages"),
        ("messages", [{"role": "wizard", "content": "x"}], "messages[0].role"),
        ("messages", [{"role": "user", "content": 7}], "messages[0].content"),
        ("messages", [{"role": "user", "content": [7]}], "messages[0].content[0]"),
        ("temperature", "hot", "temperature"),
        ("stream", "yes", "stream"),
        ("n", 0, "n"),
        ("n", 129, "n"),
        ("n", 10**9, "n"),
        ("max_tokens", -1, "max_tokens"),
        ("max_completion_tokens", 2**31 + 1, "max_completion_tokens"),
        ("top_logprobs", 21, "top_logprobs"),
        ("tools", [{"type": "function", "function": {"name": "f"}}] * 513, "tools"),
        ("tools", [{"type": "function", "function": {}}], "tools[0].function"),
        ("stop", [1], "stop[0]"),
        ("messages", [{"role": "user", "content": "x"}] * 10_001, "messages"),
        ("metadata", [], "metadata"),
        ("logit_bias", {"1": "x"}, "logit_bias[...]"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(field, value, param):
    body = json.dumps(HELLO | {field: value}).encode()
    for read in (openai_chat.read_envelope, openai_chat.parse_request):
        with pytest.raises(InvalidRequest) as refused:
            read(body)
        assert refused.value.param == param
        assert refused.value.status == 400


def test_a_body_without_messages_names_the_field():
    with pytest.raises(InvalidRequest) as refused:
        openai_chat.read_envelope(b'{"model":"m"}')
    assert refused.value.param == "messages"


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"model":', b"\xff", b'{"a":NaN}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body):
    for read in (openai_chat.read_envelope, openai_chat.parse_request):
        with pytest.raises(InvalidJson):
            read(body)


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(DuplicateKey):
        openai_chat.read_envelope(b'{"model":"a","messages":[],"model":"b"}')


@pytest.mark.parametrize("bad", [b'"\xff"', rb'"\ud800"'])
@pytest.mark.parametrize("place", [b'{"type":%b}', b'{"type":"url_citation","url":%b}', b"{%b:1}"])
def test_text_that_is_no_unicode_is_refused_however_deep_it_hides(bad, place):
    message = b'{"role":"assistant","content":"a","annotations":[%b]}' % (place % bad)
    with pytest.raises(InvalidRequest):
        openai_chat.parse_request(b'{"model":"m","messages":[%b]}' % message)


def test_a_number_out_of_range_in_a_field_read_late_is_refused():
    cited = b'{"type":"url_citation","url":"u","start_index":1e999}'
    message = b'{"role":"assistant","content":"a","annotations":[%b]}' % cited
    with pytest.raises(InvalidRequest):
        openai_chat.parse_request(b'{"model":"m","messages":[%b]}' % message)


def test_the_envelope_says_what_the_gateway_needs():
    body = json.dumps(
        HELLO
        | {"stream": True, "stream_options": {"include_usage": True}, "user": "u", "n": 2, "max_tokens": 5}
        | {"metadata": {"a": "b"}}
    ).encode()
    envelope = openai_chat.read_envelope(body)
    said = (
        envelope.model,
        envelope.stream,
        envelope.want_usage,
        envelope.user,
        envelope.n,
        envelope.max_tokens,
    )
    assert said == ("m", True, True, "u", 2, 5)
    assert json.loads(bytes(envelope.metadata)) == {"a": "b"}


def test_a_splice_changes_the_model_and_nothing_else():
    body = b'{ "messages" : [] ,\n "model" : "a", "x":1.50 }'
    spliced = openai_chat.splice(openai_chat.read_envelope(body), Edits(model="b"))
    assert spliced == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":null', b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":{}', b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":{"x": 1}', b',"stream_options":{"x": 1,"include_usage":true}'),
        (b',"stream_options":{"include_usage":false}', b',"stream_options":{"include_usage":true}'),
        (b',"stream_options":{"include_usage":true}', b',"stream_options":{"include_usage":true}'),
    ],
)
def test_a_stream_is_asked_for_its_usage_beside_its_other_options(options, expected):
    body = b'{"model":"m","messages":[],"stream":true%b}' % options
    spliced = openai_chat.splice(openai_chat.read_envelope(body), Edits(want_usage=True))
    assert spliced == b'{"model":"m","messages":[],"stream":true%b}' % expected


def test_usage_is_not_asked_of_an_answer_that_is_not_streamed():
    body = b'{"model":"m","messages":[]}'
    assert openai_chat.splice(openai_chat.read_envelope(body), Edits(want_usage=True)) == body


def test_a_splice_drops_and_renames():
    body = b'{"model":"m","max_completion_tokens":5,"plugins":[1],"messages":[]}'
    edits = Edits(drop=("plugins",), rename={"max_completion_tokens": "max_tokens"})
    spliced = openai_chat.splice(openai_chat.read_envelope(body), edits)
    assert spliced == b'{"model":"m","max_tokens":5,"messages":[]}'


# ---------------------------------------------------------------- in


def test_d9_legacy_functions_are_tools():
    request = parse(
        functions=[{"name": "add", "parameters": {"type": "object"}}], function_call={"name": "add"}
    )
    assert request.tools == [ir.Tool("add", schema=Raw(b'{"type": "object"}'))]
    assert request.choice == ir.ToolChoice("required", ("add",))


def test_a_custom_tool_keeps_its_grammar():
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    custom = {"type": "custom", "custom": {"name": "sql", "description": "d", "format": grammar}}
    request = parse(tools=[custom], tool_choice={"type": "custom", "custom": {"name": "sql"}})
    [tool] = request.tools
    assert (tool.name, tool.kind, json.loads(bytes(tool.grammar))) == ("sql", "custom", grammar)
    assert written(request)["tools"] == [custom]
    assert written(request)["tool_choice"] == {"type": "custom", "custom": {"name": "sql"}}


def test_a_custom_call_and_its_result_go_round():
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    messages = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    request = parse(messages=messages)
    assert request.messages[0].parts == [ir.ToolCall("c", "sql", "select 1", "custom")]
    assert written(request)["messages"] == messages


def test_allowed_tools_are_a_choice_of_several():
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    chosen = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools[:2]}}
    request = parse(tools=tools, tool_choice=chosen)
    assert request.choice == ir.ToolChoice("required", ("a", "b"))
    assert written(request)["tool_choice"] == chosen


def test_a_hosted_tool_is_known_by_name_and_goes_home_as_it_came():
    tools = [{"type": "web_search", "force_search": True}, {"type": "openrouter:advisor", "parameters": {}}]
    request = parse(tools=tools)
    assert [(tool.type, tool.name) for tool in request.tools] == [
        ("web_search", "web_search"),
        ("openrouter:advisor", ""),
    ]
    assert written(request)["tools"] == tools


def test_a_tool_without_its_function_is_refused():
    with pytest.raises(InvalidRequest) as refused:
        parse(tools=[{"type": "function"}])
    assert refused.value.param == "tools[0].function"


def test_seven_spellings_of_thinking_are_one():
    assert parse(reasoning_effort="low").reasoning == ir.Reasoning(effort="low")
    assert parse(reasoning={"effort": "low", "max_tokens": 9}).reasoning == ir.Reasoning(
        effort="low", budget=9
    )
    assert parse(reasoning_options={"budget_tokens": 9}).reasoning == ir.Reasoning(budget=9)
    assert parse(thinking={"type": "disabled"}).reasoning == ir.Reasoning(enabled=False)
    assert parse(enable_thinking=True).reasoning == ir.Reasoning(enabled=True)
    assert parse(chat_template_kwargs={"enable_thinking": False}).reasoning == ir.Reasoning(enabled=False)
    assert parse(chat_template_args={"enable_thinking": True}).reasoning == ir.Reasoning(enabled=True)


def test_logprobs_are_a_count():
    assert parse().logprobs is None
    assert parse(logprobs=True).logprobs == 0
    assert parse(logprobs=True, top_logprobs=3).logprobs == 3
    assert parse(logprobs=2).logprobs == 2


def test_cache_marks_of_parts_messages_and_tools_are_read():
    mark = {"type": "ephemeral", "ttl": "1h"}
    request = parse(
        messages=[
            {"role": "system", "content": "long", "cache_control": {"type": "ephemeral"}},
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
        ],
        tools=[{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
        cache_control=mark,
        prompt_cache_key="k",
    )
    assert [message.parts[0].cache for message in request.messages] == ["default", "1h"]
    assert (request.tools[0].cache, request.cache, request.cache_key) == ("1h", "1h", "k")


def test_a_thought_comes_back_in_any_of_three_spellings_and_counts_once():
    def thoughts(**fields) -> list[ir.Part]:
        return parse(messages=[{"role": "assistant", "content": "4", **fields}]).messages[0].parts[:-1]

    sealed = {"type": "reasoning.text", "text": "2+2", "signature": "s", "format": "anthropic-claude-v1"}
    assert thoughts(reasoning="2+2") == [ir.Thinking("2+2")]
    assert thoughts(reasoning_content="2+2", reasoning="2+2") == [ir.Thinking("2+2")]
    [thought] = thoughts(reasoning_details=[sealed], reasoning="2+2", reasoning_content="2+2")
    assert (thought.text, thought.seal) == ("2+2", ir.Seal("s", "anthropic"))


def test_a_signature_that_came_without_its_text_proves_the_plain_field():
    detail = {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    message = {"role": "assistant", "content": "4", "reasoning_content": "2+2", "reasoning_details": [detail]}
    thought = parse(messages=[message]).messages[0].parts[0]
    assert (thought.text, thought.seal) == ("2+2", ir.Seal("s", "anthropic"))


def test_a_seal_under_a_calls_id_is_the_calls():
    detail = {
        "type": "reasoning.encrypted",
        "data": "d",
        "id": "t1",
        "format": "google-gemini-v1",
        "index": 0,
    }
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = parse(messages=[{"role": "assistant", "tool_calls": [call], "reasoning_details": [detail]}])
    assert request.messages[0].parts == [ir.ToolCall("t1", "f", "{}", seal=ir.Seal("d", "gemini"))]
    assert written(request)["messages"][0]["reasoning_details"] == [detail]


def test_googles_signature_on_a_call_is_a_seal_and_stays_where_it_was():
    signed = {"google": {"thought_signature": "sig"}}
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": signed,
    }
    request = parse(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert request.messages[0].parts[0].seal == ir.Seal("sig", "gemini")
    assert written(request)["messages"][0] == {"role": "assistant", "tool_calls": [call]}


# ---------------------------------------------------------------- out: the accent of one target


def test_an_accent_renames_drops_defaults_and_translates_words():
    accent = Accent(
        rename={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
        drop=("user",),
        default={"safe_prompt": False},
        values={"tool_choice": {"required": "any"}},
        role={"developer": "system"},
    )
    request = parse(
        messages=[{"role": "developer", "content": "Be brief."}],
        max_completion_tokens=5,
        seed=1,
        user="u",
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice="required",
    )
    body = written(request, accent=accent)
    assert (body["max_tokens"], body["random_seed"], body["safe_prompt"]) == (5, 1, False)
    assert (body["tool_choice"], body["messages"][0]["role"], "user" in body) == ("any", "system", False)
    assert losses(request, accent=accent) == [("user", "dropped")]


def test_d15_a_named_tool_choice_is_forwarded_whatever_the_words_for_the_others():
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = parse(tools=tools, tool_choice={"type": "function", "function": {"name": "f"}})
    accent = Accent(values={"tool_choice": {"required": "any"}})
    assert written(request, accent=accent)["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_d16_a_system_message_becomes_a_developers_where_the_accent_says_so():
    request = parse(messages=[{"role": "system", "content": "Be brief."}])
    assert written(request, accent=Accent(role={"system": "developer"}))["messages"][0]["role"] == "developer"


def test_d17_a_call_in_the_history_without_arguments_has_the_empty_object():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    request = parse(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert written(request)["messages"][0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_d20_tools_and_tool_choice_reach_every_provider():
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = written(parse(tools=tools, tool_choice="required"))
    assert (body["tools"], body["tool_choice"]) == (tools, "required")


@pytest.mark.parametrize(
    ("accent", "expected"),
    [
        ("effort", {"reasoning_effort": "low"}),
        ("object", {"reasoning": {"effort": "low"}}),
        ("thinking", {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
        ("enable_thinking", {"enable_thinking": True}),
        ("template", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("none", {}),
    ],
)
def test_an_effort_is_said_as_the_provider_understands_it(accent, expected):
    request = parse(reasoning_effort="low")
    body = written(request, accent=Accent(reasoning=accent))
    assert {key: value for key, value in body.items() if key not in HELLO} == expected
    named = {"enable_thinking": ["reasoning.effort"], "template": ["reasoning.effort"], "none": ["reasoning"]}
    assert [where for where, _ in losses(request, accent=Accent(reasoning=accent))] == named.get(accent, [])


def test_a_budget_is_said_as_an_effort_and_reported():
    request = foreign(ir.Message("user", [ir.Text("Hi")]), reasoning=ir.Reasoning(True, budget=1024))
    assert written(request)["reasoning_effort"] == "low"
    assert losses(request) == [("reasoning.max_tokens", "rewritten")]


def test_a_model_without_sampling_is_not_sent_any():
    request = parse(temperature=0.5, top_p=0.9)
    assert "temperature" not in written(request, sampling=False)
    assert losses(request, sampling=False) == [("temperature", "dropped"), ("top_p", "dropped")]


def test_a_schema_is_asked_for_in_the_prompt_where_the_model_takes_none():
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
    request = parse(response_format={"type": "json_schema", "json_schema": schema})
    body = written(request, structured=False)
    assert body["response_format"] == {"type": "json_object"}
    assert '{"type": "object"}' in body["messages"][0]["content"]
    assert losses(request, structured=False) == [("response_format", "rewritten")]


def test_a_translated_stream_is_always_asked_for_usage_and_ours_as_it_was():
    assert written(foreign(ir.Message("user", [ir.Text("Hi")]), stream=True))["stream_options"] == {
        "include_usage": True
    }
    assert "stream_options" not in written(parse(stream=True))
    accent = Accent(stream_usage=False)
    assert "stream_options" not in written(foreign(ir.Message("user", []), stream=True), accent=accent)


# ---------------------------------------------------------------- out: from another dialect


def test_d28_a_failed_result_says_so_and_top_k_and_metadata_pass():
    result = ir.ToolResult("a", parts=(ir.Text("no such file"),), failed=True)
    request = foreign(
        ir.Message("user", [result]), sampling=ir.Sampling(top_k=5), metadata=Raw(b'{"a":"b"}'), user="u"
    )
    body = written(request)
    assert body["messages"] == [
        {"role": "tool", "content": "The tool failed: no such file", "tool_call_id": "a"}
    ]
    assert (body["top_k"], body["metadata"], body["user"]) == (5, {"a": "b"}, "u")
    assert losses(request) == [("messages[0].is_error", "rewritten")]


def test_results_stand_right_after_their_calls_and_the_rest_follows():
    message = ir.Message("user", [ir.ToolResult("a", parts=(ir.Text("1"),)), ir.Text("And now?")])
    assert [m["role"] for m in written(foreign(message))["messages"]] == ["tool", "user"]


def test_media_of_a_foreign_result_follows_in_a_user_message():
    image = ir.Media("image", "image/png", "iVBORw0KGgo=")
    request = foreign(ir.Message("user", [ir.ToolResult("a", parts=(ir.Text("see"), image))]))
    tool, user = written(request)["messages"]
    assert tool["content"] == "see"
    assert user["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    ]
    assert losses(request) == [("messages[0]", "rewritten")]


def test_structured_data_of_a_result_is_its_json_text():
    request = foreign(ir.Message("user", [ir.ToolResult("a", parts=(ir.Data(Raw(b'{"x":1}')),))]))
    assert written(request)["messages"][0]["content"] == '{"x":1}'


@pytest.mark.parametrize(
    "part",
    [
        ir.ToolCall("a", "web_search", "{}", "hosted"),
        ir.Opaque("anthropic", Raw(b"{}")),
        ir.Media("image", file="file_1"),
    ],
)
def test_content_that_cannot_be_carried_is_refused_and_named(part):
    with pytest.raises(UnsupportedContent) as refused:
        openai_chat.render_request(foreign(ir.Message("assistant", [part])))
    assert refused.value.status == 400


def test_a_hosted_result_is_refused():
    part = ir.ToolResult("a", "web_search", kind="hosted")
    for role in ("user", "assistant"):
        with pytest.raises(UnsupportedContent):
            openai_chat.render_request(foreign(ir.Message(role, [part])))


def test_a_foreign_search_tool_is_asked_for_as_an_option_and_another_hosted_tool_is_refused():
    config = {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 2,
        "user_location": {"type": "approximate", "city": "Pune"},
    }
    tool = ir.HostedTool("web_search_20250305", "web_search", Raw(json.dumps(config).encode()))
    request = foreign(ir.Message("user", [ir.Text("Hi")]), tools=[tool])
    location = {"type": "approximate", "approximate": {"city": "Pune"}}
    assert written(request)["web_search_options"] == {"user_location": location}
    assert losses(request) == [("tools[web_search]", "rewritten"), ("tools[web_search].max_uses", "dropped")]
    with pytest.raises(UnsupportedContent):
        openai_chat.render_request(foreign(tools=[ir.HostedTool("computer_20250124", "computer")]))


def test_a_long_or_odd_tool_name_is_changed_everywhere_and_can_be_undone():
    long = "f" * 70
    request = foreign(
        ir.Message("assistant", [ir.ToolCall("a", long, "{}"), ir.ToolCall("b", "my.tool", "{}")]),
        tools=[ir.Tool(long), ir.Tool("my.tool"), ir.Tool("read", namespace="files")],
        choice=ir.ToolChoice("required", ("my.tool",)),
    )
    rendered = openai_chat.render_request(request)
    body = json.loads(rendered.body)
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert all(len(name) <= 64 for name in names)
    assert names[1:] == ["my_tool", "files__read"]
    assert [rendered.undo.names[name] for name in names] == [long, "my.tool", "read"]
    assert [call["function"]["name"] for call in body["messages"][0]["tool_calls"]] == names[:2]
    assert body["tool_choice"]["function"]["name"] == "my_tool"


def test_two_odd_names_do_not_become_one():
    request = foreign(tools=[ir.Tool("my.tool"), ir.Tool("my/tool"), ir.Tool("my_tool")])
    rendered = openai_chat.render_request(request)
    names = [tool["function"]["name"] for tool in json.loads(rendered.body)["tools"]]
    assert len(set(names)) == 3
    assert [rendered.undo.names.get(name, name) for name in names] == ["my.tool", "my/tool", "my_tool"]


def test_foreign_extras_are_reported_by_name():
    request = foreign(ir.Message("user", [ir.Text("Hi")]), extra={"container": Raw(b'"c"')})
    assert losses(request) == [("container", "dropped")]


def test_a_foreign_cache_mark_goes_to_claude_alone():
    request = foreign(ir.Message("user", [ir.Text("long", cache="5m")]))
    assert written(request)["messages"][0]["content"] == "long"
    assert losses(request) == [("messages[0].content[0].cache_control", "dropped")]
    [element] = written(request, issuer="anthropic")["messages"][0]["content"]
    assert element["cache_control"] == {"type": "ephemeral", "ttl": "5m"}


# ---------------------------------------------------------------- out: seals and thoughts

SEALED = ir.Thinking("2+2", seal=ir.Seal("sig", "anthropic"))
TURN = ir.Message("assistant", [SEALED, ir.Text("4")])


def test_a_seal_goes_to_its_issuer_with_its_text():
    [message] = written(foreign(TURN), issuer="anthropic")["messages"]
    assert message["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "2+2",
            "signature": "sig",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
    ]


@pytest.mark.parametrize("issuer", ["", "openai", "gemini"])
def test_a_seal_goes_to_nobody_else(issuer):
    request = foreign(TURN)
    assert b"sig" not in openai_chat.render_request(request, Traits(issuer=issuer)).body
    assert losses(request, issuer=issuer)[0] == ("messages[0].reasoning", "dropped")


@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        ("reasoning_content", {"reasoning_content": "2+2", "content": "4"}),
        ("reasoning", {"reasoning": "2+2", "content": "4"}),
        (
            "",
            {
                "content": [
                    {"type": "text", "text": "[Earlier reasoning]\n2+2"},
                    {"type": "text", "text": "4"},
                ]
            },
        ),
        (
            "content",
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]},
                    {"type": "text", "text": "4"},
                ]
            },
        ),
    ],
)
def test_a_thought_is_said_where_the_accent_puts_it(thought, expected):
    request = foreign(ir.Message("assistant", [ir.Thinking("2+2"), ir.Text("4")]))
    [message] = written(request, accent=Accent(thought=thought))["messages"]
    assert message == {"role": "assistant"} | expected


def test_a_foreign_thought_is_left_out_where_the_route_says_so():
    assert "2+2" not in json.dumps(written(foreign(TURN), thoughts="drop"))


def test_a_signed_call_is_signed_for_gemini_alone():
    signed = foreign(ir.Message("assistant", [ir.ToolCall("a", "f", "{}", seal=ir.Seal("sig", "gemini"))]))
    [call] = written(signed, issuer="gemini")["messages"][0]["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert "sig" not in json.dumps(written(signed, issuer="anthropic"))
