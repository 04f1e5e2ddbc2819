"""What the gateway says of itself in /openapi.json, held against what it does: schemathesis makes requests that the
document allows and requests that it does not, and checks every answer, over a real socket with a key that is valid.

Requests are made from a fixed seed, so that the same commit meets the same ones. A model that is none would end most
of them at the door: where a string was made for `model`, every second call asks for one that answers."""

import json

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from hostile import listening
from provider import CHAT, CHAT_STREAM, MESSAGE, MESSAGE_STREAM, Asked, Provider, events, reply
from running import SECRET, Running, provider
from torana.gateway import openapi

EXAMPLES = 25  # of each operation: some 25 s for all of them
NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
MODELS = ("mock/gpt-x", "ant/claude-x", "echo")
load_all_checks()
JUDGES = CHECKS.get_by_names(NAMES)
answered: dict[str, set[int]] = {}  # operation -> the statuses it gave


def answer(asked: Asked):
    """In the provider's dialect, streamed if it was asked to be."""
    chat = asked.path.startswith("/v1/chat")
    if asked.json.get("stream"):
        return events(*(CHAT_STREAM if chat else MESSAGE_STREAM))(asked)
    return reply(CHAT if chat else MESSAGE)(asked)


@pytest.fixture(scope="module")
def torana(tmp_path_factory):
    with Provider(answer) as server:
        rows = {"mock": provider(server.url), "ant": provider(server.url, "anthropic", auth="x-api-key")}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            yield torana


schema = schemathesis.openapi.from_dict(openapi.document())


OPERATIONS = {found.ok().label: found.ok() for found in schema.get_all_operations()}
GOOD = {"model": "echo", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def cases(operation):
    """Requests that the document allows, and requests that it does not."""
    modes = schemathesis.GenerationMode
    return st.one_of(
        [operation.as_strategy(generation_mode=mode) for mode in (modes.POSITIVE, modes.NEGATIVE)]
    )


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation_answers_as_the_document_says(torana, label):
    operation = OPERATIONS[label]

    def judge(case):
        with listening() as listener:
            response = case.call(
                base_url=torana.url, headers={"authorization": f"Bearer {SECRET}"}, timeout=20
            )
        assert listener.broken == []
        answered.setdefault(label, set()).add(response.status_code)
        case.validate_response(response, checks=JUDGES)

    @hypothesis.given(case=cases(operation))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def judge_made(case):
        made = case.body.get("model") if isinstance(case.body, dict) else None
        if isinstance(made, str) and len(made) % 2 == 0:
            case.body["model"] = MODELS[len(made) // 2 % 3]
        judge(case)

    if operation.body:
        judge(operation.Case(body=GOOD, media_type="application/json"))
    judge_made()


def test_every_operation_was_asked_and_the_conversations_answered(torana):
    told = torana.ask("GET", "/openapi.json").json
    assert told == json.loads(openapi.render())
    operations = {
        f"{method.upper()} {path}"
        for path, row in told["paths"].items()
        for method in row
        if method != "parameters"
    }
    assert answered.keys() >= operations  # and methods that a path does not take
    for path in ("/v1/chat/completions", "/v1/messages"):
        assert {200, 400} <= answered[f"POST {path}"] <= {200, 400, 404, 415}
