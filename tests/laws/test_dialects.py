"""Laws every dialect obeys. A new dialect is added to no list: it is found in DIALECTS."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from torana import ir, translate
from torana.dialects import DIALECTS, Context
from torana.errors import Error, StreamIncomplete, UpstreamError

from strategies import arguments, ids, names, responses, words

every = pytest.mark.parametrize("name", DIALECTS)
pairs = pytest.mark.parametrize(("source", "target"), [(a, b) for a in DIALECTS for b in DIALECTS])


def spoken(name: str, response: ir.Response) -> bytes:
    """A response as a stream on the wire."""
    return DIALECTS[name].Renderer(Context(id="r1", model="m")).render(ir.unfold(response))


def heard(name: str, *chunks: bytes) -> list[ir.Event]:
    parser = DIALECTS[name].Parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close()


def story(response: ir.Response) -> object:
    """What must survive any retelling: who said what, how it ended, what it cost in and out."""
    usage = response.usage or ir.Usage()
    said = [
        (type(part).__name__, part.text, getattr(part, "name", ""), getattr(part, "id", ""))
        for choice in response.choices
        for part in choice.parts
    ]
    return (
        said,
        [choice.finish for choice in response.choices],
        (usage.prompt, usage.cache_read, usage.completion),
    )


def cut(whole: bytes, data: st.DataObject) -> list[bytes]:
    at = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]


@every
@given(responses())
def test_a_rendered_stream_parses_back(name, response):
    assert story(ir.fold(heard(name, spoken(name, response)))) == story(response)


@every
@given(responses())
def test_a_rendered_answer_parses_back(name, response):
    body = DIALECTS[name].render_response(response, Context(id="r1", model="m")).body
    assert story(ir.fold(DIALECTS[name].parse_response(body))) == story(response)


@every
@given(responses())
def test_a_stream_and_the_whole_answer_tell_the_same(name, response):
    body = DIALECTS[name].render_response(response, Context(id="r1", model="m")).body
    whole = ir.fold(DIALECTS[name].parse_response(body))
    assert story(ir.fold(heard(name, spoken(name, response)))) == story(whole)


@every
@given(responses(), st.data())
def test_how_the_network_cut_the_stream_does_not_matter(name, response, data):
    whole = spoken(name, response)
    expected = ir.fold(heard(name, whole))
    assert ir.fold(heard(name, *cut(whole, data))) == expected
    assert ir.fold(heard(name, *[bytes([byte]) for byte in whole])) == expected


@every
@given(responses(), st.sampled_from([b"\r\n", b"\r"]), st.integers(1, 7))
def test_line_endings_do_not_matter(name, response, ending, size):
    whole = spoken(name, response)
    other = whole.replace(b"\n", ending) + b": end"
    pieces = [other[at : at + size] for at in range(0, len(other), size)]
    assert ir.fold(heard(name, *pieces)) == ir.fold(heard(name, whole))


@every
@given(responses(), st.data())
def test_a_truncated_stream_is_never_mistaken_for_a_whole_one(name, response, data):
    whole = spoken(name, response)
    body = whole[: data.draw(st.integers(0, len(whole.rstrip()) - 1))]
    watch = DIALECTS[name].Watch()
    watch.feed(body)
    try:
        told = ir.fold(heard(name, body))
    except StreamIncomplete:
        with pytest.raises(StreamIncomplete):
            watch.close()
    else:  # some providers end with the finish reason and send no terminator: then nothing said is missing
        watch.close()
        assert story(told)[:2] == story(response)[:2]


@every
@given(responses(), st.data())
def test_a_watched_stream_passes_untouched_and_is_read_alike(name, response, data):
    whole = spoken(name, response)
    watch = DIALECTS[name].Watch(hide_usage=False)
    passed = b"".join([watch.feed(piece) for piece in cut(whole, data)]) + watch.close()
    parsed = ir.fold(heard(name, whole))
    assert passed == whole
    assert (watch.glance.usage, watch.glance.finish) == (parsed.usage, parsed.choices[0].finish)


@every
@given(responses())
def test_a_glance_sees_what_parsing_sees(name, response):
    body = DIALECTS[name].render_response(response, Context(id="r1", model="m")).body
    parsed, glance = ir.fold(DIALECTS[name].parse_response(body)), DIALECTS[name].glance(body)
    assert (glance.usage, glance.finish, glance.id) == (parsed.usage, parsed.choices[0].finish, parsed.id)


@pairs
@given(responses(), st.data())
def test_every_pair_retells_the_same_story(source, target, response, data):
    relay = translate.Relay(source, target, Context(id="r2", model="n"))
    whole = spoken(source, response)
    retold = b"".join([relay.feed(piece) for piece in cut(whole, data)]) + relay.close()
    assert story(ir.fold(heard(target, retold))) == story(response)


@pairs
@given(responses())
def test_every_pair_retells_the_same_answer(source, target, response):
    body = DIALECTS[source].render_response(response, Context(id="r1", model="m")).body
    retold = translate.response(body, source, target, Context(id="r2", model="n")).body
    assert story(ir.fold(DIALECTS[target].parse_response(retold))) == story(response)


@every
@given(st.text(min_size=1, max_size=40), st.sampled_from([400, 401, 404, 429, 500, 503, 529]))
def test_a_broken_stream_says_so_in_band_and_does_not_end_well(name, message, status):
    renderer = DIALECTS[name].Renderer(Context(id="r1", model="m"))
    begun = renderer.render([ir.Start(name, "r", "m"), ir.Open(0, ir.Text()), ir.Delta(0, "hi")])
    told = begun + renderer.fail(UpstreamError(message, status=status))
    events = heard(name, told)
    assert isinstance(events[-1], ir.End) and events[-1].error is not None
    assert events[-1].error.message == message


@every
@given(
    st.text(min_size=1, max_size=60), st.sampled_from([400, 401, 403, 404, 413, 429, 500, 529]), names, names
)
def test_an_error_keeps_its_status_and_message(name, message, status, kind, code):
    error = UpstreamError(message, status=status, kind=kind, code=code)
    back = DIALECTS[name].parse_error(status, DIALECTS[name].render_error(error, "req_1"))
    assert (back.status, back.message) == (status, message)


FRAGMENTS = [b"data: ", b"\n\n", b"{", b"}", b'"type":', b'"choices":[', b'"delta":', b"[DONE]", b"\r", b"0"]
FRAGMENTS += [
    b'"content_block_delta"',
    b",",
    b"null",
    b'"index":9',
    b'"usage":{}',
    b"]",
    b'"x"',
    b"event: error\n",
]
garbage = st.binary(max_size=200) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join)


@every
@given(garbage)
@example(b'data: {"type":[]}\n\n')
@example(b'data: {"choices":[{"delta":{"tool_calls":[{}]}}]}\n\ndata: [DONE]\n\n')
@example(b'data: {"choices":[null]}\n\n')
def test_garbage_is_refused_with_our_error_and_nothing_else(name, data):
    dialect = DIALECTS[name]
    attempts = (
        lambda: heard(name, data + b"\n\n"),
        lambda: heard(name, b"data: " + data + b"\n\n"),
        lambda: heard(name, b'data: {"type":"' + data + b'"}\n\n'),
        lambda: dialect.parse_request(data),
        lambda: dialect.read_envelope(data),
        lambda: dialect.parse_response(data),
        lambda: dialect.glance(data),
        lambda: dialect.parse_error(500, data) and None,
    )
    for attempt in attempts:
        with contextlib.suppress(Error):
            attempt()


@every
@given(garbage)
def test_garbage_relayed_verbatim_never_crashes_the_watch(name, data):
    watch = DIALECTS[name].Watch(hide_usage=False)
    with contextlib.suppress(Error):
        assert watch.feed(data) + watch.close() == data


# ---------------------------------------------------------------- requests

phrases = words.filter(str.strip)  # Anthropic takes no text of white space alone: there it is a named loss
messages = st.lists(
    st.one_of(
        phrases.map(lambda text: [ir.Message("user", [ir.Text(text)])]),
        st.tuples(phrases, ids, names, arguments, phrases).map(
            lambda t: [
                ir.Message("assistant", [ir.Text("."), ir.ToolCall(t[1], t[2], t[3])]),
                ir.Message("user", [ir.ToolResult(t[1], parts=(ir.Text(t[4]),)), ir.Text(t[0])]),
            ]
        ),
    ),
    min_size=1,
    max_size=3,
).map(lambda turns: [ir.Message("user", [ir.Text("begin")])] + [m for turn in turns for m in turn])
requests = st.builds(
    ir.Request,
    dialect=st.just(""),
    model=names,
    messages=st.tuples(words, messages).map(lambda t: [ir.Message("system", [ir.Text("." + t[0])]), *t[1]]),
    tools=st.lists(names, min_size=1, max_size=3, unique=True).map(
        lambda found: [
            ir.Tool(name, "does it", ir_raw({"type": "object", "properties": {}})) for name in found
        ]
    ),
    max_tokens=st.integers(1, 4096),
    stream=st.booleans(),
)


def ir_raw(value: object):
    from msgspec import Raw

    return Raw(json.dumps(value).encode())


def asked(request: ir.Request) -> object:
    """What must survive: every text, call and result with its owner, in order; tools; limits."""
    said = []
    for message in request.messages:
        for part in message.parts:
            role = "user" if message.role == "user" else message.role.replace("developer", "system")
            if isinstance(part, ir.ToolResult):
                said.append((role, "result", part.id, "".join(p.text for p in part.parts)))
            else:
                said.append((role, type(part).__name__, getattr(part, "id", ""), canonical(part)))
    tools = [(tool.name, tool.description, json.loads(bytes(tool.schema))) for tool in request.tools or []]
    return request.model, said, tools, request.max_tokens, request.stream


def canonical(part: ir.Part) -> object:
    return json.loads(part.text) if isinstance(part, ir.ToolCall) else part.text


@every
@given(requests)
def test_a_rendered_request_parses_back(name, request):
    back = DIALECTS[name].parse_request(DIALECTS[name].render_request(request).body)
    assert asked(back) == asked(request)


@pairs
@given(requests)
def test_a_request_crosses_every_pair(source, target, request):
    body = DIALECTS[source].render_request(request).body
    crossed = translate.request(body, source, target)
    assert asked(DIALECTS[target].parse_request(crossed.body)) == asked(request)


@every
@given(requests, names)
def test_a_spliced_request_differs_in_the_model_alone(name, request, model):
    from torana.dialects import Edits

    dialect = DIALECTS[name]
    body = dialect.render_request(request).body
    spliced = dialect.splice(dialect.read_envelope(body), Edits(model=model))
    assert json.loads(spliced) == json.loads(body) | {"model": model}
    assert asked(dialect.parse_request(spliced)) == asked(replace(request, model=model))


@every
@given(requests)
def test_the_envelope_agrees_with_the_parsed_request(name, request):
    body = DIALECTS[name].render_request(request).body
    envelope, parsed = DIALECTS[name].read_envelope(body), DIALECTS[name].parse_request(body)
    assert (envelope.model, envelope.stream) == (parsed.model, parsed.stream)
