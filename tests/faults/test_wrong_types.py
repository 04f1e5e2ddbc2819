"""Every documented field of a request, given every kind of value it does not take: 4xx in the caller's dialect, no
call to a provider (fault matrix I11, V30). The mutations are made from the schemas that the gateway serves.

What the schema allows has to pass as well, so that a schema which refuses too much is found out."""

import json
from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace

import pytest

from hostile import Caller, listening, refusal
from provider import CHAT, MESSAGE, Provider, reply
from running import Running, provider

DIALECTS = {"openai_chat": "ChatRequest", "anthropic": "MessagesRequest"}
dialects = pytest.mark.parametrize("dialect", DIALECTS)
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    2**40,
    1e300,
    "",
    "x",
    "auto",
    [],
    [1],
    [None],
    ["x"],
    [[]],
    {},
    {"a": 1},
    [{}],
)
DEPTH_MAX = 6
Schema = dict
Path = tuple[str | int, ...]

# One request that uses every documented field.
WHOLE = {
    "openai_chat": {
        "model": "mock/gpt-x",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "name": "n", "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "https://x.invalid/a.png", "detail": "low"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "user", "content": "u"},
        ],
        "stream": False, "stream_options": None, "max_tokens": 5, "max_completion_tokens": 5, "temperature": 1.0,
        "top_p": 1, "n": 1, "stop": ["x"], "seed": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": True,
        "top_logprobs": 1, "parallel_tool_calls": True, "response_format": {"type": "text"},
        "reasoning_effort": "low", "user": "u", "metadata": {"a": "b"}, "tool_choice": "auto",
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}}],
    },
    "anthropic": {
        "model": "ant/claude-x",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "t"}]},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "u"},
        ],
        "system": [{"type": "text", "text": "s"}], "stream": False, "temperature": 1.0, "top_p": 0.5, "top_k": 3,
        "stop_sequences": ["x"], "tool_choice": {"type": "auto"}, "thinking": {"type": "disabled"},
        "metadata": {"user_id": "u"},
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Provider(reply(CHAT)) as mock, Provider(reply(MESSAGE)) as ant:
        rows = {"mock": provider(mock.url), "ant": provider(ant.url, "anthropic", auth="x-api-key")}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            caller = Caller(torana.port)
            schemas = json.loads(caller.send("GET", "/openapi.json")[2])["components"]["schemas"]
            yield SimpleNamespace(caller=caller, mock=mock, ant=ant, schemas=schemas)
            caller.close()


@pytest.fixture(autouse=True)
def unbroken(stage):
    stage.mock.asked.clear()
    stage.ant.asked.clear()
    with listening() as listener:
        yield
    assert listener.broken == []


# ---------------------------------------------------------------- the schema, read


def resolved(schema: Schema, schemas: dict) -> list[Schema]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return [found for each in schema["anyOf"] for found in resolved(each, schemas)]
    return [schema]


def kinds(value: object) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"} | ({"integer"} if value.is_integer() else set())
        case str():
            return {"string"}
        case list():
            return {"array"}
    return {"object"}


def allows(schema: Schema, value: object, schemas: dict) -> bool:
    """Whether the schema takes the value, as far as our schemas say it."""
    return any(_allows(each, value, schemas) for each in resolved(schema, schemas))


def _allows(schema: Schema, value: object, schemas: dict) -> bool:
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    wanted = schema.get("type", [])
    if wanted and kinds(value).isdisjoint([wanted] if isinstance(wanted, str) else wanted):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return fits and all(allows(schema["items"], each, schemas) for each in value if "items" in schema)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return set(schema.get("required", ())) <= value.keys() and all(
            allows(known[name], inner, schemas) for name, inner in value.items() if name in known
        )
    return True


def places(schema: Schema, value: object, schemas: dict, at: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every documented place of a request that is there, with its schema."""
    if at:
        yield at, schema
    for each in resolved(schema, schemas):
        if isinstance(value, dict) and len(at) < DEPTH_MAX:
            for name, inner in each.get("properties", {}).items():
                if name in value:
                    yield from places(inner, value[name], schemas, (*at, name))
        if isinstance(value, list) and "items" in each:
            for index, inner in enumerate(value):
                yield from places(each["items"], inner, schemas, (*at, index))


def put(whole: dict, at: Path, value: object) -> dict:
    changed = deepcopy(whole)
    place = changed
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    return changed


def mutations(dialect: str, schemas: dict) -> Iterator[tuple[Path, object, dict, bool]]:
    """Each place with each value: (place, value, request, whether the schema takes it)."""
    schema = schemas[DIALECTS[dialect]]
    for at, inner in dict(places(schema, WHOLE[dialect], schemas)).items():
        for value in VALUES:
            yield at, value, put(WHOLE[dialect], at, value), allows(inner, value, schemas)


# ---------------------------------------------------------------- the tests


@dialects
def test_a_request_with_every_documented_field_passes(stage, dialect):
    assert allows(stage.schemas[DIALECTS[dialect]], WHOLE[dialect], stage.schemas)
    documented = stage.schemas[DIALECTS[dialect]]["properties"].keys()
    assert WHOLE[dialect].keys() == documented
    status, _, body = stage.caller.post(dialect, WHOLE[dialect])
    assert status == 200, body


@dialects
@pytest.mark.parametrize("across", [False, True])
def test_a_value_that_a_field_does_not_take_is_refused_before_any_provider_is_asked(stage, dialect, across):
    wrong, tried = [], 0
    target = {"openai_chat": "ant/claude-x", "anthropic": "mock/gpt-x"}[dialect]
    for at, value, body, allowed in mutations(dialect, stage.schemas):
        if allowed:
            continue
        tried += 1
        if across and at != ("model",):
            body["model"] = target
        answer = stage.caller.post(dialect, body)
        if not 400 <= answer[0] < 500:
            wrong.append(f"{at} {value!r} {answer[0]}")
        else:
            refusal(dialect, answer)
    assert wrong == [], "\n".join(wrong)
    assert len(stage.mock.asked) + len(stage.ant.asked) == 0
    assert tried > 300


@dialects
def test_a_value_that_a_field_takes_is_never_our_failure(stage, dialect):
    """A provider may refuse it, and a rule between two fields may; most pass."""
    passed, tried, wrong = 0, 0, []
    for at, value, body, allowed in mutations(dialect, stage.schemas):
        if not allowed:
            continue
        tried += 1
        answer = stage.caller.post(dialect, body)
        passed += answer[0] == 200
        if answer[0] != 200:
            wrong.append(f"{at} {value!r} {answer[2][:200]!r}")
            refusal(dialect, answer)
    assert passed > 0.9 * tried, "\n".join(wrong)


@dialects
def test_a_required_field_that_is_missing_is_refused(stage, dialect):
    for name in stage.schemas[DIALECTS[dialect]]["required"]:
        body = {key: value for key, value in WHOLE[dialect].items() if key != name}
        error = refusal(dialect, stage.caller.post(dialect, body))
        assert name in error["message"]
    assert stage.mock.asked + stage.ant.asked == []
