"""fold and unfold: a response is a stream that arrived all at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from torana import ir
from torana.errors import UpstreamError, UpstreamInvalid

from strategies import ids, responses, words

START = ir.Start("openai_chat", "r1", "m")


@given(responses(ordered=False))
def test_unfold_then_fold_is_identity(response):
    assert ir.fold(ir.unfold(response)) == response


seals = st.builds(ir.Seal, ids, ids)
rich = st.one_of(
    st.builds(ir.Text, words, citations=st.just((ir.Citation("url", "u"),)), seal=seals, item=ids),
    st.builds(ir.Thinking, words, seal=st.none() | seals),
    st.builds(ir.Refusal, words),
    st.builds(
        ir.ToolCall, ids, ids, words, kind=st.sampled_from(["function", "custom", "hosted"]), seal=seals
    ),
    st.builds(ir.ToolResult, ids, parts=st.just((ir.Text("x"), ir.Data(Raw(b"{}")))), kind=st.just("hosted")),
    st.builds(ir.Media, st.just("audio"), data=ids, text=words),
    st.just(ir.Opaque("anthropic", Raw(b'{"type":"x"}'))),
)


@given(st.lists(rich, max_size=4), st.lists(rich, max_size=3), st.sampled_from(["stop", "paused", "refused"]))
def test_every_kind_of_part_survives_in_every_choice(first, second, finish):
    response = ir.Response(
        id="r",
        choices=[
            ir.Choice(0, first, finish, "native"),
            ir.Choice(1, second, "length", extra={"k": Raw(b"1")}),
        ],
        usage=ir.Usage(3, output=4, total=7),
        extra={"x": Raw(b"{}")},
        ended=True,
    )
    assert ir.fold(ir.unfold(response)) == response


@given(responses(ordered=False), st.data())
def test_cutting_deltas_anywhere_does_not_change_the_fold(response, data):
    events = []
    for event in ir.unfold(response):
        if isinstance(event, ir.Delta) and len(event.text) > 1:
            at = data.draw(st.integers(1, len(event.text) - 1))
            events += [ir.Delta(event.index, event.text[:at]), ir.Delta(event.index, event.text[at:])]
        else:
            events.append(event)
    assert ir.fold(events) == response


def test_parts_that_interleave_are_told_apart():
    call = ir.ToolCall("c1", "f")
    events = [
        START,
        ir.Open(0, ir.Text()),
        ir.Open(1, call),
        ir.Delta(1, "{"),
        ir.Delta(0, "hi"),
        ir.Delta(1, "}"),
    ]
    whole = ir.fold([*events, ir.Close(1), ir.Close(0), ir.Finished(0, "stop"), ir.End()])
    assert whole.choices[0].parts == [ir.Text("hi"), ir.ToolCall("c1", "f", "{}")]


@pytest.mark.parametrize(
    "events",
    [
        [START, ir.Delta(0, "x")],
        [START, ir.Open(0, ir.Text()), ir.Close(0), ir.Delta(0, "x")],
        [START, ir.Open(0, ir.Text()), ir.Open(0, ir.Text())],
        [START, ir.Close(3)],
        [START, ir.End(), ir.Open(0, ir.Text())],
        [START, ir.Open(0, ir.Opaque("x", Raw(b"{}"))), ir.Delta(0, "x")],
        [START, ir.Open(0, ir.Refusal()), ir.Attach(0, seal=ir.Seal("s"))],
    ],
)
def test_events_that_break_the_shape_are_refused(events):
    with pytest.raises(UpstreamInvalid):
        ir.fold(events)


def test_a_stream_without_its_end_is_not_whole():
    assert ir.fold([START, ir.Open(0, ir.Text()), ir.Delta(0, "x")]).ended is False


def test_an_error_at_the_end_keeps_what_was_said_before():
    error = UpstreamError("boom")
    whole = ir.fold([START, ir.Open(0, ir.Text()), ir.Delta(0, "x"), ir.End(error)])
    assert (whole.choices[0].parts, whole.error) == ([ir.Text("x")], error)
