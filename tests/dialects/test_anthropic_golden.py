"""The golden cases of conformance/anthropic: JSON that any implementation in any language can be judged by.

`means` is the canonical model in JSON, without what is at its default; bodies are written without
white space."""

import json
import typing
from pathlib import Path

import msgspec
import pytest

from torana import ir
from torana.dialects import anthropic
from torana.dialects.interface import Context, Head
from torana.errors import Error
from torana.records import Traits

Told = ir.Start | ir.Open | ir.Delta | ir.Attach | ir.Close | ir.Finished | ir.Spent | ir.Note | ir.Progress
FOLDER = Path(__file__).resolve().parents[2] / "conformance" / "anthropic"


def cases(name: str) -> pytest.MarkDecorator:
    found = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def meaning(value: object) -> object:
    """The canonical model as JSON, without what is at its default."""
    match value:
        case msgspec.Raw():
            return json.loads(bytes(value))
        case Error():
            return {"status": value.status, "kind": value.kind, "message": value.message}
        case msgspec.Struct():
            fields = msgspec.structs.fields(value)
            said = {
                field.name: getattr(value, field.name) for field in fields if not is_default(value, field)
            }
            tag = {"type": value.__struct_config__.tag} if value.__struct_config__.tag else {}
            return tag | meaning(said)
        case dict():
            return {key: meaning(item) for key, item in value.items()}
        case list() | tuple():
            return [meaning(item) for item in value]
    return value


def is_default(holder: msgspec.Struct, field: msgspec.structs.FieldInfo) -> bool:
    value = getattr(holder, field.name)
    if field.default_factory is not msgspec.NODEFAULT:
        return value == field.default_factory()
    return field.default is not msgspec.NODEFAULT and value == field.default


def frames(events: list[dict]) -> bytes:
    return b"".join([f"event: {e['type']}\ndata: {compact(e).decode()}\n\n".encode() for e in events])


def heard(wire: bytes) -> list[dict]:
    lines = wire.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@cases("requests")
def test_a_request_means_what_it_should_and_is_written_again(case):
    body = compact(case["body"])
    head = Head(path=case.get("path", "/v1/messages"))
    request = anthropic.parse_request(body, head)
    assert meaning(request) == case["means"]
    assert json.loads(anthropic.render_request(request).body) == case.get("again", case["body"])
    assert anthropic.read_envelope(body, head).model == request.model


def read(value: object, shape: type) -> object:
    return msgspec.json.decode(json.dumps(value), type=shape)


def request_of(says: dict) -> ir.Request:
    """Every field by its own type: tools of two kinds are told apart by no tag."""
    shapes = typing.get_type_hints(ir.Request) | {"tools": list[ir.Tool]}
    return ir.Request(**{name: read(value, shapes[name]) for name, value in says.items()})


@cases("adapted")
def test_a_request_of_another_dialect_is_written_as_it_should_be(case):
    request, traits = request_of(case["says"]), read(case.get("traits", {}), Traits)
    rendered = anthropic.render_request(request, traits)
    assert json.loads(rendered.body) == case["body"]
    assert [[loss.where, loss.how] for loss in rendered.losses] == case.get("losses", [])


@cases("answers")
def test_an_answer_means_what_it_should_and_is_written_again(case):
    response = ir.fold(anthropic.parse_response(compact(case["body"])))
    assert meaning(response) == case["means"]
    assert json.loads(anthropic.render_response(response).body) == case.get("again", case["body"])


@cases("streams")
def test_a_stream_means_what_it_should(case):
    parser = anthropic.Parser()
    events = parser.feed(frames(case["events"]))
    if "refused" in case:
        with pytest.raises(Error) as refused:
            parser.close()
        assert refused.value.code == case["refused"]
        return
    assert meaning(ir.fold(events + parser.close())) == case["means"]


@cases("told")
def test_a_story_is_told_as_it_should_be(case):
    events = read(case["story"], list[Told])
    wire = anthropic.Renderer(Context(**case.get("context", {}))).render([*events, ir.End()])
    assert heard(wire) == case["events"]


@cases("errors")
def test_an_error_means_what_it_should(case):
    body = case["body"] if isinstance(case["body"], str) else compact(case["body"]).decode()
    error = anthropic.parse_error(case["status"], body.encode())
    assert {"status": error.status, "kind": error.kind, "message": error.message} == case["means"]
    assert json.loads(anthropic.render_error(error))["error"] == case["again"]
