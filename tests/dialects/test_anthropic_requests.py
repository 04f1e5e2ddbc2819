"""Requests of another dialect, written for Anthropic: what changes, what is named, what is refused."""

import base64
import json

import pytest
from msgspec import Raw

from torana import ir
from torana.dialects import anthropic
from torana.dialects.interface import Edits, Head, Rendered
from torana.errors import DuplicateKey, InvalidRequest, UnsupportedContent
from torana.records import Traits

ADAPTIVE = Traits(thinking="adaptive", structured=True, output_max=64_000)
BUDGET = Traits(thinking="budget", output_max=64_000)
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="


def user(*parts: ir.Part | str) -> ir.Message:
    return ir.Message("user", [ir.Text(part) if isinstance(part, str) else part for part in parts])


def assistant(*parts: ir.Part | str) -> ir.Message:
    return ir.Message("assistant", [ir.Text(part) if isinstance(part, str) else part for part in parts])


def system(text: str, cache: str = "") -> ir.Message:
    return ir.Message("system", [ir.Text(text, cache=cache)])


def asked(*messages: ir.Message, **settings: object) -> ir.Request:
    return ir.Request(
        dialect="openai_chat", model="claude", messages=list(messages) or [user("hi")], **settings
    )


def write(request: ir.Request, traits: Traits = Traits()) -> tuple[dict, Rendered]:
    rendered = anthropic.render_request(request, traits)
    return json.loads(rendered.body), rendered


def losses(rendered: Rendered) -> list[tuple[str, str]]:
    return [(loss.where, loss.how) for loss in rendered.losses]


def tool(name: str = "look", schema: object = None, **fields: object) -> ir.Tool:
    raw = Raw(b"") if schema is None else Raw(json.dumps(schema).encode())
    return ir.Tool(name, "looks", raw, **fields)


def schema(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


CALL = ir.ToolCall("call_1", "look", '{"at":"sea"}')
RESULT = ir.ToolResult("call_1", parts=(ir.Text("blue"),))

# ---------------------------------------------------------------- turns


def test_a_plain_request_needs_no_more_than_it_says():
    body, rendered = write(asked(max_tokens=5))
    assert body == {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    assert rendered.path == "/v1/messages"
    assert rendered.headers == (("anthropic-version", "2023-06-01"),)
    assert (rendered.losses, rendered.undo) == ((), None)


def test_the_version_is_the_targets():
    _, rendered = write(asked(), Traits(version="2026-10-21"))
    assert rendered.headers == (("anthropic-version", "2026-10-21"),)


def test_leading_system_messages_become_separate_blocks_with_their_breakpoints():
    body, _ = write(asked(system("one"), ir.Message("developer", [ir.Text("two", cache="1h")]), user("hi")))
    assert body["system"] == [
        {"type": "text", "text": "one"},
        {"type": "text", "text": "two", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]


def test_a_later_system_message_keeps_its_place_as_the_operators_text():
    body, rendered = write(asked(system("one"), user("hi"), system("two"), user("go")))
    assert body["system"] == "one"
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "text", "text": "<operator-note>\ntwo\n</operator-note>"},
                {"type": "text", "text": "go"},
            ],
        }
    ]
    assert losses(rendered) == [("messages.2", "rewritten")]


def test_a_later_system_message_stays_where_the_model_takes_it():
    body, rendered = write(asked(user("hi"), system("two"), user("go")), Traits(system_in_place=True))
    assert [message["role"] for message in body["messages"]] == ["user", "system", "user"]
    assert rendered.losses == ()


def test_results_come_first_and_neighbours_of_one_role_are_one_turn():
    body, _ = write(asked(user("hi"), assistant("let me", CALL), user("and"), user(RESULT), tools=[tool()]))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"][1] == {
        "type": "tool_use",
        "id": "call_1",
        "name": "look",
        "input": {"at": "sea"},
    }
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "blue"},
        {"type": "text", "text": "and"},
    ]


def test_a_failed_result_says_so():
    failed = ir.ToolResult("call_1", parts=(ir.Text("no"),), failed=True)
    body, _ = write(asked(user("hi"), assistant(CALL), user(failed), tools=[tool()]))
    assert body["messages"][2]["content"][0]["is_error"] is True


def test_a_result_may_hold_images_and_json():
    result = ir.ToolResult("call_1", parts=(ir.Media("image", "image/png", PNG), ir.Data(Raw(b'{"a":\n1}'))))
    body, _ = write(asked(user("hi"), assistant(CALL), user(result), tools=[tool()]))
    assert body["messages"][2]["content"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "text", "text": '{"a":1}'},
    ]


def test_empty_texts_are_left_out_and_white_space_is_named():
    body, rendered = write(asked(user("", "hi", " \n"), assistant(""), user("go")))
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "go"}]}
    ]
    assert losses(rendered) == [("messages.0.content.2", "dropped")]


def test_an_empty_turn_and_a_first_assistant_get_a_placeholder():
    body, rendered = write(asked(assistant("so"), user("")))
    assert [message["content"] for message in body["messages"]] == ["(no content)", "so", "(no content)"]
    assert losses(rendered) == [("messages", "rewritten")]


def test_only_a_system_prompt_is_refused_by_name():
    with pytest.raises(InvalidRequest, match="user's message") as refused:
        write(asked(system("one")))
    assert refused.value.param == "messages"


def test_the_beginning_of_an_answer_ends_without_white_space():
    body, rendered = write(asked(user("hi"), assistant("The sea is \n")))
    assert body["messages"][-1] == {"role": "assistant", "content": "The sea is"}
    assert losses(rendered) == [("messages", "rewritten")]


def test_a_previous_answer_of_another_store_is_refused():
    with pytest.raises(InvalidRequest) as refused:
        write(asked(previous="resp_1"))
    assert refused.value.param == "previous_response_id"


def test_a_name_and_a_foreign_field_of_a_message_are_named():
    message = ir.Message("user", [ir.Text("hi")], name="ann", extra={"weight": Raw(b"1")})
    assert losses(write(asked(message))[1]) == [
        ("messages.0.name", "dropped"),
        ("messages.0.weight", "dropped"),
    ]


# ---------------------------------------------------------------- ids and names


def test_ids_of_calls_are_spelled_in_anthropics_alphabet_and_stay_apart():
    calls = [ir.ToolCall(id, "look", "{}") for id in ("f:0", "f.0", "f_0")]
    results = [ir.ToolResult(id, parts=(ir.Text(id),)) for id in ("f:0", "f.0", "f_0")]
    body, _ = write(asked(user("hi"), assistant(*calls), user(*results), tools=[tool()]))
    sent = [block["id"] for block in body["messages"][1]["content"]]
    assert len(set(sent)) == 3
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == sent
    assert all(set(id) <= set("f_023") for id in sent)


def test_calls_without_ids_get_them_and_their_results_find_them():
    calls = [ir.ToolCall("", name, "{}") for name in ("a", "b", "a")]
    results = [ir.ToolResult("", name) for name in ("b", "a", "a")]
    body, _ = write(asked(user("hi"), assistant(*calls), user(*results), tools=[tool("a"), tool("b")]))
    assert [block["id"] for block in body["messages"][1]["content"]] == ["toolu_1", "toolu_2", "toolu_3"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == [
        "toolu_2",
        "toolu_1",
        "toolu_3",
    ]


def test_a_name_out_of_the_alphabet_is_undone_in_the_answer():
    body, rendered = write(asked(tools=[tool("say hello"), tool("say_hello"), tool("n" * 200)]))
    sent = [found["name"] for found in body["tools"]]
    assert sent == ["say_hello_2", "say_hello", "n" * 128]
    assert rendered.undo.names == {"say_hello_2": "say hello", "n" * 128: "n" * 200}


def test_a_named_choice_follows_the_name_as_sent():
    body, _ = write(asked(tools=[tool("a b")], choice=ir.ToolChoice("required", ("a b",))))
    assert body["tool_choice"] == {"type": "tool", "name": "a_b"}


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ir.ToolChoice("auto"), None),
        (ir.ToolChoice("none"), {"type": "none"}),
        (ir.ToolChoice("required"), {"type": "any"}),
        (ir.ToolChoice("required", ("look",)), {"type": "tool", "name": "look"}),
        (ir.ToolChoice("auto", (), False), {"type": "auto", "disable_parallel_tool_use": True}),
        (ir.ToolChoice("required", (), False), {"type": "any", "disable_parallel_tool_use": True}),
        (ir.ToolChoice("auto", (), True), None),
    ],
)
def test_a_choice_is_spelled_anthropics_way(choice, written):
    assert write(asked(tools=[tool()], choice=choice))[0].get("tool_choice") == written


def test_of_several_allowed_tools_only_those_are_sent():
    tools = [tool("a"), tool("b"), tool("c")]
    body, _ = write(asked(tools=tools, choice=ir.ToolChoice("required", ("a", "c"))))
    assert ([found["name"] for found in body["tools"]], body["tool_choice"]) == (["a", "c"], {"type": "any"})
    body, _ = write(asked(tools=tools, choice=ir.ToolChoice("auto", ("b",))))
    assert ([found["name"] for found in body["tools"]], body.get("tool_choice")) == (["b"], None)


def test_a_choice_without_tools_is_not_sent():
    assert "tool_choice" not in write(asked(choice=ir.ToolChoice("auto", (), False)))[0]


def test_a_missing_schema_is_an_empty_object():
    body, rendered = write(asked(tools=[tool()]))
    assert body["tools"] == [
        {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert rendered.losses == ()


def test_a_plain_schema_goes_out_as_it_came():
    given = {"type": "object", "properties": {"b": {"anyOf": [{"type": "string"}]}}, "required": ["b"]}
    assert write(asked(tools=[tool(schema=given)]))[0]["tools"][0]["input_schema"] == given


def test_variants_at_a_schemas_root_are_merged_and_not_lost():
    variants = [
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "k": {"const": 1}},
            "required": ["a", "k"],
        },
        {"$ref": "#/$defs/other"},
    ]
    other = {"type": "object", "properties": {"b": {"type": "integer"}, "k": {"const": 2}}, "required": ["k"]}
    given = {"anyOf": variants, "$defs": {"other": other}}
    body, rendered = write(asked(tools=[tool(schema=given)]))
    assert body["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer"},
            "k": {"anyOf": [{"const": 1}, {"const": 2}]},
        },
        "required": ["k"],
        "$defs": {"other": other},
    }
    assert losses(rendered) == [("tools.0.parameters", "rewritten")]


def test_all_of_requires_what_each_requires():
    parts = [
        {"properties": {"a": {}}, "required": ["a"]},
        {"properties": {"b": {}}, "required": ["b"]},
    ]
    body, _ = write(asked(tools=[tool(schema={"allOf": parts})]))
    assert body["tools"][0]["input_schema"]["required"] == ["a", "b"]


def test_a_schema_that_unfolds_for_ever_is_refused():
    loop = {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 2}}}
    with pytest.raises(InvalidRequest) as refused:
        write(asked(tools=[tool(schema=loop)]))
    assert refused.value.param == "tools.0"


def test_a_custom_tool_becomes_a_function_of_one_string():
    grammar = Raw(b'{"type":"grammar","definition":"start: WORD"}')
    history = [
        user("hi"),
        assistant(ir.ToolCall("c1", "patch", "*** free", "custom")),
        user(ir.ToolResult("c1")),
    ]
    body, rendered = write(
        asked(*history, tools=[ir.Tool("patch", "patches", kind="custom", grammar=grammar)])
    )
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert "start: WORD" in body["tools"][0]["description"]
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** free"}
    assert rendered.undo.customs == {"patch"}
    assert losses(rendered) == [("tools.0.format", "rewritten")]


def test_strict_is_sent_where_the_model_keeps_to_schemas_and_named_elsewhere():
    strict = tool(strict=True)
    assert write(asked(tools=[strict]), ADAPTIVE)[0]["tools"][0]["strict"] is True
    body, rendered = write(asked(tools=[strict]))
    assert ("strict" in body["tools"][0], losses(rendered)) == (False, [("tools.0.strict", "dropped")])


def test_marks_and_anthropics_own_fields_of_a_tool_are_kept():
    extra = {"input_examples": Raw(b'[{"at":"sea"}]'), "colour": Raw(b'"red"')}
    body, rendered = write(asked(tools=[tool(cache="5m", deferred=True, extra=extra)]))
    found = body["tools"][0]
    assert found["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert (found["defer_loading"], found["input_examples"]) == (True, [{"at": "sea"}])
    assert losses(rendered) == [("tools.0.colour", "dropped")]


def test_past_calls_without_tools_get_them_defined_and_may_not_be_repeated():
    body, rendered = write(asked(user("hi"), assistant(CALL), user(RESULT)))
    assert [found["name"] for found in body["tools"]] == ["look"]
    assert body["tool_choice"] == {"type": "none"}
    assert losses(rendered) == [("tools", "rewritten")]


@pytest.mark.parametrize(
    ("config", "written"),
    [
        (
            {"type": "web_search", "filters": {"allowed_domains": ["a.org"]}, "search_context_size": "low"},
            {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"]},
        ),
        (
            {"user_location": {"type": "approximate", "approximate": {"city": "Rome", "country": "IT"}}},
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "user_location": {"type": "approximate", "city": "Rome", "country": "IT"},
            },
        ),
    ],
)
def test_a_hosted_search_keeps_its_shared_settings(config, written):
    hosted = ir.HostedTool("web_search", "web_search", schema(config))
    body, rendered = write(asked(tools=[hosted]))
    assert body["tools"] == [written]
    named = [("tools.0.search_context_size", "dropped")] if "search_context_size" in config else []
    assert losses(rendered) == named


def test_a_hosted_tool_in_beta_asks_for_it():
    hosted = ir.HostedTool("urlContext", "web_fetch", Raw(b'{"urlContext":null}'))
    _, rendered = write(asked(tools=[hosted]))
    assert ("anthropic-beta", "web-fetch-2025-09-10") in rendered.headers


def test_a_hosted_tool_that_anthropic_lacks_is_refused_by_name():
    with pytest.raises(UnsupportedContent) as refused:
        write(asked(tools=[ir.HostedTool("file_search", "file_search")]))
    assert refused.value.param == "tools.0"


@pytest.mark.parametrize("text", ["", "null", " "])
def test_a_call_without_arguments_has_an_empty_object(text):
    body, _ = write(asked(user("hi"), assistant(ir.ToolCall("c", "look", text)), user(ir.ToolResult("c"))))
    assert body["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("text", ['{"a":', "[1]", '"x"'])
def test_arguments_that_are_no_object_are_wrapped_as_anthropic_documents_it(text):
    body, rendered = write(
        asked(user("hi"), assistant(ir.ToolCall("c", "look", text)), user(ir.ToolResult("c")), tools=[tool()])
    )
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": text}
    assert losses(rendered) == [("messages.1.content.0.arguments", "rewritten")]


# ---------------------------------------------------------------- media


@pytest.mark.parametrize(
    ("media", "block"),
    [
        (
            ir.Media("image", "", PNG),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            ir.Media("image", "image/jpg", "/9j/4A=="),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4A=="}},
        ),
        (
            ir.Media("image", url="https://x.org/a.png"),
            {"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}},
        ),
        (
            ir.Media("document", "", PDF, name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            ir.Media("document", "text/csv", base64.b64encode("ä,b".encode()).decode()),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä,b"}},
        ),
    ],
)
def test_images_and_documents_have_their_blocks(media, block):
    body, rendered = write(asked(user(media)))
    assert (body["messages"][0]["content"], rendered.losses) == ([block], ())


def test_a_file_by_id_asks_for_the_beta():
    body, rendered = write(asked(user(ir.Media("document", file="file_1"))))
    assert body["messages"][0]["content"][0]["source"] == {"type": "file", "file_id": "file_1"}
    assert ("anthropic-beta", "files-api-2025-04-14") in rendered.headers


def test_the_detail_of_an_image_is_named():
    assert losses(write(asked(user(ir.Media("image", "image/png", PNG, detail="low"))))[1]) == [
        ("messages.0.content.0.detail", "dropped")
    ]


@pytest.mark.parametrize(
    "media",
    [
        ir.Media("audio", "audio/wav", "UklGRg=="),
        ir.Media("video", url="https://x.org/a.mp4"),
        ir.Media("image", "image/tiff", "SUkq"),
        ir.Media("image", url="gs://bucket/a.png"),
        ir.Media("document", "application/msword", "0M8R"),
        ir.Media("document", "text/plain", "/w=="),
    ],
)
def test_what_anthropic_cannot_see_is_refused_by_name(media):
    with pytest.raises(UnsupportedContent) as refused:
        write(asked(user("hi", media)))
    assert refused.value.param == "messages.0.content.1"


# ---------------------------------------------------------------- thoughts


OWN = ir.Thinking("hm", seal=ir.Seal("c2ln", "anthropic"))


def test_a_thought_comes_home_with_its_seal():
    sealed = [OWN, ir.Thinking(seal=ir.Seal("ZW5j", "anthropic", "thought"))]
    body, rendered = write(asked(user("hi"), assistant(*sealed, "so"), user("go")))
    assert body["messages"][1]["content"][:2] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
    ]
    assert rendered.losses == ()


FOREIGN = [
    ir.Thinking("hm", seal=ir.Seal("x", "openai", "thought")),
    ir.Thinking("hm"),
    ir.Thinking("hm", seal=ir.Seal("x")),
]


@pytest.mark.parametrize("thought", FOREIGN)
def test_a_foreign_thought_becomes_labelled_text_and_its_seal_stays_here(thought):
    body, rendered = write(asked(user("hi"), assistant(thought, "so"), user("go")))
    assert body["messages"][1]["content"][0] == {"type": "text", "text": "<thinking>\nhm\n</thinking>"}
    assert losses(rendered) == [("messages.1.content.0", "rewritten")]
    assert b'"x"' not in rendered.body


@pytest.mark.parametrize("thought", FOREIGN)
def test_a_foreign_thought_is_left_out_where_the_route_says_so(thought):
    body, rendered = write(asked(user("hi"), assistant(thought, "so"), user("go")), Traits(thoughts="drop"))
    assert body["messages"][1]["content"] == "so"
    assert losses(rendered) == [("messages.1.content.0", "dropped")]


def test_a_seal_goes_to_its_issuer_only_though_the_dialect_is_the_same():
    request = ir.Request(
        dialect="anthropic", model="k", messages=[user("hi"), assistant(OWN, "so"), user("go")]
    )
    body, rendered = write(request, Traits(issuer="moonshot"))
    assert body["messages"][1]["content"] == "so"
    assert losses(rendered) == [("messages.1", "dropped")]


def test_a_foreign_seal_on_a_call_is_named_and_not_sent():
    call = ir.ToolCall("c", "look", "{}", seal=ir.Seal("secret", "gemini"))
    _, rendered = write(asked(user("hi"), assistant(call), user(ir.ToolResult("c")), tools=[tool()]))
    assert losses(rendered) == [("messages.1.content.0.signature", "dropped")]
    assert b"secret" not in rendered.body


def test_what_a_foreign_hosted_tool_did_becomes_words():
    call = ir.ToolCall("ws_1", "web_search", '{"query":"sea"}', "hosted")
    result = ir.ToolResult("ws_1", "web_search", (ir.Data(Raw(b'[{"url":"u"}]')),), kind="hosted")
    body, rendered = write(asked(user("hi"), assistant(call, result, "blue"), user("go")))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["text", "text", "text"]
    assert '{"query":"sea"}' in body["messages"][1]["content"][0]["text"]
    assert losses(rendered) == [("messages.1.content.0", "rewritten"), ("messages.1.content.1", "rewritten")]


def test_an_opaque_part_of_another_dialect_is_named():
    opaque = ir.Opaque("openai_responses", Raw(b'{"type":"compaction"}'))
    body, rendered = write(asked(user("hi", opaque)))
    assert (body["messages"][0]["content"], losses(rendered)) == ("hi", [("messages.0.content.1", "dropped")])


# ---------------------------------------------------------------- reasoning


def test_an_adaptive_model_is_given_the_effort():
    body, rendered = write(asked(reasoning=ir.Reasoning(effort="high")), ADAPTIVE)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert (body["output_config"], rendered.losses) == ({"effort": "high"}, ())


@pytest.mark.parametrize(("effort", "sent"), [("minimal", "low"), ("xhigh", "max")])
def test_an_effort_that_not_every_model_has_becomes_the_next(effort, sent):
    body, rendered = write(asked(reasoning=ir.Reasoning(effort=effort)), ADAPTIVE)
    assert (body["output_config"], losses(rendered)) == (
        {"effort": sent},
        [("reasoning_effort", "rewritten")],
    )


def test_a_budget_on_an_adaptive_model_becomes_an_effort():
    body, rendered = write(asked(reasoning=ir.Reasoning(budget=2000)), ADAPTIVE)
    assert (body["output_config"], losses(rendered)) == (
        {"effort": "medium"},
        [("reasoning.max_tokens", "rewritten")],
    )


@pytest.mark.parametrize(
    ("effort", "budget"), [("low", 1024), ("medium", 2048), ("high", 4096), ("max", 16384)]
)
def test_a_budgeted_model_is_given_a_budget_that_grows_with_the_effort(effort, budget):
    body, _ = write(asked(reasoning=ir.Reasoning(effort=effort)), BUDGET)
    assert (body["thinking"], body["max_tokens"]) == ({"type": "enabled", "budget_tokens": budget}, 64_000)


def test_a_budget_without_max_tokens_leaves_room_for_the_answer():
    body, _ = write(asked(reasoning=ir.Reasoning(effort="high")), Traits(thinking="budget"))
    assert body["max_tokens"] == 4096 + 4096


def test_a_budget_never_reaches_max_tokens():
    body, rendered = write(asked(max_tokens=3000, reasoning=ir.Reasoning(effort="high")), BUDGET)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (1500, 3000)
    assert losses(rendered) == [("reasoning_effort", "rewritten")]


def test_effort_high_in_a_thousand_tokens_leaves_the_thinking_out():
    body, rendered = write(asked(max_tokens=1000, reasoning=ir.Reasoning(effort="high")), BUDGET)
    assert ("thinking" in body, body["max_tokens"]) == (False, 1000)
    assert losses(rendered) == [("reasoning_effort", "dropped")]


@pytest.mark.parametrize("reasoning", [ir.Reasoning(effort="none"), ir.Reasoning(enabled=False)])
def test_no_thinking_is_said_to_models_that_can(reasoning):
    assert write(asked(reasoning=reasoning), ADAPTIVE)[0]["thinking"] == {"type": "disabled"}
    assert "thinking" not in write(asked(reasoning=reasoning))[0]


def test_an_effort_for_a_model_that_does_not_think_is_named():
    body, rendered = write(asked(reasoning=ir.Reasoning(effort="high")))
    assert ("thinking" in body, losses(rendered)) == (False, [("reasoning_effort", "dropped")])


def test_a_forced_tool_outranks_thinking():
    request = asked(tools=[tool()], choice=ir.ToolChoice("required"), reasoning=ir.Reasoning(effort="low"))
    body, rendered = write(request, ADAPTIVE)
    assert (body["tool_choice"], "thinking" in body) == ({"type": "any"}, False)
    assert losses(rendered) == [("reasoning_effort", "dropped")]


def test_a_loop_of_calls_without_its_thoughts_goes_on_without_thinking():
    request = asked(
        user("hi"), assistant(CALL), user(RESULT), tools=[tool()], reasoning=ir.Reasoning(effort="low")
    )
    body, rendered = write(request, BUDGET)
    assert ("thinking" in body, losses(rendered)) == (False, [("reasoning_effort", "dropped")])
    kept = asked(
        user("hi"), assistant(OWN, CALL), user(RESULT), tools=[tool()], reasoning=ir.Reasoning(effort="low")
    )
    assert write(kept, BUDGET)[0]["thinking"] == {"type": "enabled", "budget_tokens": 1024}


# ---------------------------------------------------------------- the other settings


def test_max_tokens_is_the_models_own_when_unsaid_and_never_above_it():
    assert write(asked())[0]["max_tokens"] == 4096
    assert write(asked(), BUDGET)[0]["max_tokens"] == 64_000
    body, rendered = write(asked(max_tokens=100_000), BUDGET)
    assert (body["max_tokens"], losses(rendered)) == (64_000, [("max_tokens", "rewritten")])


@pytest.mark.parametrize(("given", "sent"), [(1.5, 1), (-1, 0)])
def test_temperature_is_clamped_and_named(given, sent):
    body, rendered = write(asked(sampling=ir.Sampling(temperature=given)))
    assert (body["temperature"], losses(rendered)) == (sent, [("temperature", "rewritten")])


def test_temperature_and_top_p_are_not_sent_together():
    body, rendered = write(asked(sampling=ir.Sampling(temperature=0.5, top_p=0.9)))
    assert ("top_p" in body, losses(rendered)) == (False, [("top_p", "dropped")])
    assert write(asked(sampling=ir.Sampling(temperature=0.5, top_p=1)))[1].losses == ()
    assert write(asked(sampling=ir.Sampling(top_p=0.9, top_k=40)))[0]["top_p"] == 0.9


def test_a_thinking_model_is_not_sampled():
    request = asked(sampling=ir.Sampling(temperature=0.2, top_k=4), reasoning=ir.Reasoning(effort="low"))
    body, rendered = write(request, ADAPTIVE)
    assert ("temperature" in body, "top_k" in body) == (False, False)
    assert losses(rendered) == [("temperature", "dropped"), ("top_k", "dropped")]


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_a_model_that_refuses_sampling_is_sent_none_and_it_is_named(dialect):
    request = asked(sampling=ir.Sampling(temperature=0))
    request.dialect = dialect
    body, rendered = write(request, Traits(sampling=False))
    assert ("temperature" in body, losses(rendered)) == (False, [("temperature", "dropped")])


def test_stop_sequences_of_white_space_are_named():
    body, rendered = write(asked(sampling=ir.Sampling(stop=("\n", "END", ""))))
    assert (body["stop_sequences"], losses(rendered)) == (["END"], [("stop", "dropped")])


def test_what_anthropic_cannot_be_asked_is_named_and_defaults_are_not():
    sampling = ir.Sampling(seed=1, frequency_penalty=0, presence_penalty=0.5, logit_bias=Raw(b'{"1":2}'))
    request = asked(
        sampling=sampling,
        n=2,
        logprobs=0,
        verbosity="low",
        store=True,
        cache_key="k",
        modalities=("text", "audio"),
        metadata=Raw(b'{"a":"b"}'),
        extra={"plugins": Raw(b"[]")},
    )
    assert {where for where, _ in losses(write(request)[1])} == {
        "seed", "presence_penalty", "logit_bias", "n", "logprobs", "verbosity", "store", "prompt_cache_key",
        "modalities", "metadata", "plugins",
    }  # fmt: skip


@pytest.mark.parametrize(("tier", "sent"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)])
def test_tiers_that_mean_the_same_are_translated(tier, sent):
    body, rendered = write(asked(tier=tier))
    assert body.get("service_tier") == sent
    assert losses(rendered) == ([] if sent else [("service_tier", "dropped")])


def test_a_user_is_named_to_anthropic_unless_the_name_is_a_persons():
    assert write(asked(user="u_1"))[0]["metadata"] == {"user_id": "u_1"}
    for person in ("ann@example.org", "x" * 300):
        body, rendered = write(asked(user=person))
        assert ("metadata" in body, losses(rendered)) == (False, [("user", "dropped")])


# ---------------------------------------------------------------- the answer's shape

SHAPE = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}}}
FORMAT = ir.Format("schema", schema(SHAPE), "shape")


def test_a_schema_is_kept_natively_where_the_model_can():
    body, rendered = write(asked(format=FORMAT), ADAPTIVE)
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "how many (minimum: 1)"}},
            "additionalProperties": False,
        },
    }
    assert losses(rendered) == [("response_format", "rewritten")]


def test_a_property_may_be_named_like_a_bound():
    given = {"type": "object", "properties": {"minimum": {"type": "integer"}}, "additionalProperties": False}
    body, rendered = write(asked(format=ir.Format("schema", schema(given))), ADAPTIVE)
    assert (body["output_config"]["format"]["schema"], rendered.losses) == (given, ())


def test_elsewhere_the_model_answers_through_a_tool():
    body, rendered = write(asked(format=FORMAT))
    assert body["tool_choice"] == {"type": "tool", "name": "json_answer"}
    assert body["tools"][0]["input_schema"] == SHAPE
    assert rendered.undo.answer_tool == "json_answer"
    assert losses(rendered) == [("response_format", "rewritten")]


@pytest.mark.parametrize(
    ("request_", "traits"),
    [
        (asked(format=FORMAT, tools=[tool()]), Traits()),
        (asked(format=FORMAT, reasoning=ir.Reasoning(effort="low")), BUDGET),
        (asked(format=ir.Format("schema", schema({"type": "array"}))), Traits()),
    ],
)
def test_a_tool_is_not_forced_over_the_callers_or_over_thinking(request_, traits):
    body, rendered = write(request_, traits)
    assert "JSON Schema" in body["system"]
    assert (rendered.undo, losses(rendered)) == (None, [("response_format", "rewritten")])


def test_a_json_object_is_asked_for_in_words():
    body, rendered = write(asked(system("be brief"), user("hi"), format=ir.Format("json")), ADAPTIVE)
    assert body["system"][0]["text"] == "be brief"
    assert "JSON object" in body["system"][1]["text"]
    assert losses(rendered) == [("response_format", "rewritten")]


# ---------------------------------------------------------------- reading


def test_claude_codes_billing_line_stays_out_of_the_conversation_and_goes_home():
    line = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;"}
    body = {
        "model": "claude",
        "max_tokens": 1,
        "system": [line, {"type": "text", "text": "You code."}],
        "messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "note"}],
    }
    request = anthropic.parse_request(json.dumps(body).encode())
    assert request.messages[0].parts == [ir.Text("You code.")]
    assert [message.role for message in request.messages] == ["system", "user", "system"]
    again = json.loads(anthropic.render_request(request).body)
    assert (again["system"][0], again["messages"]) == (line, body["messages"])


def test_fields_nobody_knows_go_home():
    body = {
        "model": "m",
        "max_tokens": 1,
        "future": {"a": 1},
        "thinking": {"type": "sideways", "x": 1},
        "output_config": {"effort": "low", "task_budget": {"total": 5}},
        "tool_choice": {"type": "auto", "mood": "good"},
        "tools": [{"name": "t", "input_schema": {}, "colour": "red"}, {"type": "alien_20300101", "name": "z"}],
        "messages": [
            {
                "role": "user",
                "mood": "bad",
                "content": [
                    {"type": "text", "text": "hi", "tone": "low", "cache_control": {"type": "ephemeral", "scope": "global"}},
                    {"type": "hologram", "text": {"not": "a string"}},
                    {"type": "image", "source": {"type": "telepathy"}},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
                ],
            }
        ],
    }  # fmt: skip
    raw = json.dumps(body).encode()
    request = anthropic.parse_request(raw)
    assert json.loads(anthropic.render_request(request).body) == body
    assert anthropic.read_envelope(raw).model == "m"
    assert request.messages[0].parts[3].text == "a"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages.0.content"),
        ({"tools": [{"name": 5}]}, "tools.0"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(change, param):
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": []} | change).encode()
    for read in (anthropic.parse_request, anthropic.read_envelope):
        with pytest.raises(InvalidRequest) as refused:
            read(body)
        assert refused.value.param == param


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 2**32},
        {"max_tokens": -1},
        {"stream": "yes"},
        {"model": None},
        {"messages": 5},
        {"top_k": "a"},
    ],
)
def test_a_setting_out_of_bounds_is_refused(change):
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": []} | change).encode()
    for read in (anthropic.parse_request, anthropic.read_envelope):
        with pytest.raises(InvalidRequest):
            read(body)


def test_too_many_messages_or_tools_are_refused():
    for change in (
        {"messages": [{"role": "user", "content": ""}] * 10_001},
        {"tools": [{"name": "t"}] * 513},
    ):
        body = json.dumps({"model": "m", "messages": []} | change).encode()
        with pytest.raises(InvalidRequest):
            anthropic.read_envelope(body)


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(DuplicateKey):
        anthropic.read_envelope(b'{"model":"a","model":"b","max_tokens":1,"messages":[]}')


def test_an_edit_touches_nothing_else():
    body = b'{ "model" : "a",\n "x":[1 , 2], "messages":[] ,"speed":"fast"}'
    envelope = anthropic.read_envelope(body)
    assert anthropic.splice(envelope, Edits(model="b")) == body.replace(b'"a"', b'"b"')
    assert (
        anthropic.splice(envelope, Edits(drop=("x",))) == b'{ "model" : "a", "messages":[] ,"speed":"fast"}'
    )
    assert anthropic.splice(envelope, Edits(rename={"speed": "pace"})) == body.replace(b'"speed"', b'"pace"')


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:rawPredict", False),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:streamRawPredict", True),
        ("/model/claude-x@1/invoke", False),
        ("/model/claude-x@1/invoke-with-response-stream", True),
    ],
)
def test_a_cloud_names_the_model_in_the_path(path, stream):
    body = b'{"anthropic_version":"vertex-2023-10-16","max_tokens":1,"messages":[]}'
    request, envelope = anthropic.parse_request(body, Head(path)), anthropic.read_envelope(body, Head(path))
    assert (request.model, request.stream) == (envelope.model, envelope.stream) == ("claude-x@1", stream)
    with pytest.raises(InvalidRequest):
        anthropic.read_envelope(body)


@pytest.mark.parametrize(
    "block", [{"type": "tool_use", "id": "a", "name": "b", "input": {"c": "?"}}, {"type": "alien", "c": "?"}]
)
def test_bytes_that_are_no_text_are_refused_wherever_they_hide(block):
    body = json.dumps({"model": "m", "messages": [{"role": "assistant", "content": [block]}]}).encode()
    for read in (anthropic.parse_request, anthropic.read_envelope):
        with pytest.raises(InvalidRequest, match="UTF-8"):
            read(body.replace(b"?", b"\xff"))


def test_blocks_within_blocks_without_end_are_refused():
    content: object = "x"
    for _ in range(40):
        content = [{"type": "tool_result", "tool_use_id": "a", "content": content}]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
    with pytest.raises(InvalidRequest, match="nested deeper") as refused:
        anthropic.parse_request(body)
    assert refused.value.param == "messages.0.content.0"
