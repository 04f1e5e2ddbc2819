"""Server-sent events: the standard's own parsing cases, and every way a network can cut them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torana.errors import UpstreamTooLarge
from torana.wire.sse import FRAME_BYTES_MAX, Frames, frame


def parse(*chunks):
    frames = Frames()
    return [event for chunk in chunks for event in frames.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\rx", [(b"", b"a")]),
        (b"data: a\n\r\n", [(b"", b"a")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"event: e\ndata: a\n\n", [(b"e", b"a")]),
        (b"data: a\nevent: e\n\n", [(b"e", b"a")]),
        (b": comment\n\ndata: a\n\n", [(b"", b"a")]),
        (b"id: 1\nretry: 5\ndata: a\n\n", [(b"", b"a")]),
        (b"event: e\n\n", []),
        (b"data\n\n", [(b"", b"")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"\n\n\ndata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"unknown: x\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a:b\n\n", [(b"", b"a:b")]),
        (b" data: a\n\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream, expected):
    assert parse(stream) == expected


lines = st.sampled_from(
    [b"data: x", b"data:y", b"event: e", b": c", b"", b"id: 3", b"data: \xc3\xa9\xf0\x9f\x98\x80"]
)


@given(st.lists(lines, max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_cuts_and_line_endings_do_not_matter(parts, ending, data):
    whole = ending.join(parts) + ending * 2 + b": end"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    canonical = parse(b"\n".join(parts) + b"\n\n" + b": end")
    assert parse(*pieces) == canonical
    assert parse(*[bytes([b]) for b in whole]) == canonical


def test_an_event_longer_than_the_limit_is_refused():
    frames = Frames()
    frames.feed(b"data: " + b"x" * (FRAME_BYTES_MAX - 100))
    with pytest.raises(UpstreamTooLarge):
        frames.feed(b"x" * 200)


@given(st.binary(max_size=50).filter(lambda b: b"\n" not in b and b"\r" not in b))
def test_what_is_framed_reads_back(data):
    assert parse(frame(data, b"e")) == [(b"e", data)]
