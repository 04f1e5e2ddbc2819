"""The one place that reads JSON, so there is one answer to bytes that are not.

msgspec raises three unrelated things for bad input: its own error, a UnicodeDecodeError for text that is not
UTF-8, a RecursionError for nesting. `Raw | None` decodes as None only: a field that may hold anything is
`Raw = Raw(b"")`.
"""

import re
from collections.abc import Iterable, Mapping, Sized
from typing import TypeVar

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder, Encoder

from torana.errors import DuplicateKey, Error, InvalidJson

T = TypeVar("T")

_object = Decoder(dict[str, Raw])
_encoder = Encoder()
encode = _encoder.encode


def read(decoder: Decoder[T], body: bytes | Raw, refusal: type[Error]) -> T:
    """Decode, or raise `refusal` with the parser's own words, which name the path of the bad field."""
    try:
        return decoder.decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise refusal(_reason(exc)) from None


def _reason(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "the text is not valid UTF-8"
    if isinstance(exc, RecursionError):
        return "the JSON is nested too deeply"
    return str(exc)


def fields(body: bytes | Raw) -> dict[str, Raw]:
    """The top level of an object this process wrote, values untouched."""
    return _object.decode(body)


class Object:
    """The top level of a JSON object from outside: its values, and where each stands, so that one can be
    changed and every other byte left alone.

    Raises InvalidJson for anything but an object and DuplicateKey for a key that stands twice (msgspec would
    keep the last, another reader the first).
    """

    __slots__ = ("_spans", "body", "fields")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.fields = fields = read(_object, body, InvalidJson)
        self._spans: Spans | None = None
        if not body.isascii():
            _check_utf8(body)  # a Raw value is skipped over, not read
        elif len(body) == _compact_length(fields):
            return  # not a byte is left over in which a key could stand again
        self._spans = _spans_by_length(body, fields) or _spans_by_scan(body, fields)

    @property
    def spans(self) -> "Spans":
        """Where each key and value stands."""
        if self._spans is None:
            self._spans = _spans_by_length(self.body, self.fields) or _spans_by_scan(self.body, self.fields)
        return self._spans

    def splice(self, values: Mapping[str, bytes | None], rename: Mapping[str, str] | None = None) -> bytes:
        """The body with fields set, added (at the end), removed (None) or renamed."""
        if self._spans is None and not rename and None not in values.values():
            return self._set_compact(values)
        edits: list[tuple[int, int, bytes]] = []
        added: list[bytes] = []
        for name, value in values.items():
            span = self.spans.get(name)
            if span is None:
                if value is not None:
                    added.append(b"%b:%b" % (encode(name), value))
            elif value is None:
                edits.append((*self._member(name), b""))
            else:
                edits.append((span[1], span[2], value))
        for old, new in (rename or {}).items():
            if (span := self.spans.get(old)) is not None and values.get(old, b"") is not None:
                edits.append((span[0], _key_end(self.body, span[0]), encode(new)))
        if not edits and not added:
            return self.body
        return self._apply(sorted(edits), added)

    def _set_compact(self, values: Mapping[str, bytes | None]) -> bytes:
        """splice() where there is no white space: only the members up to the last edited one are walked."""
        pieces, taken, at = [], 0, 1
        wanted = len(self.fields.keys() & values.keys())
        for key, value in self.fields.items():
            if not wanted:
                break
            start = at + len(key) + 3
            at = start + len(memoryview(value)) + 1
            new = values.get(key)
            if new is not None:
                pieces += [self.body[taken:start], new]
                taken, wanted = at - 1, wanted - 1
        added = [
            b"%b:%b" % (encode(key), new) for key, new in values.items() if key not in self.fields and new
        ]
        pieces.append(self.body[taken:])
        if added:
            pieces[-1] = self.body[taken:-1]
            pieces.append(b",%b}" % b",".join(added) if self.fields else b"%b}" % b",".join(added))
        return b"".join(pieces)

    def _member(self, name: str) -> tuple[int, int]:
        """A member and one comma beside it: the one before, else the one after."""
        start, _, end = self.spans[name]
        comma = start - 1
        while self.body[comma : comma + 1].isspace():
            comma -= 1
        if self.body[comma] == 0x2C:
            return comma, end
        while self.body[end : end + 1].isspace():
            end += 1
        return start, end + 1 if self.body[end] == 0x2C else end

    def _apply(self, edits: list[tuple[int, int, bytes]], added: list[bytes]) -> bytes:
        pieces, at = [], 0
        for start, end, value in edits:
            pieces += [self.body[at : max(start, at)], value]  # two removed neighbours overlap in a comma
            at = max(at, end)
        tail = self.body[at:]
        if added:
            head = b"".join(pieces)
            close = tail.rindex(b"}")
            before = (head + tail[:close]).rstrip()
            comma = b"" if before.endswith((b"{", b",")) else b","
            return before + comma + b",".join(added) + tail[close:]
        return (
            _trim_comma(b"".join(pieces) + tail) if edits and edits[0][2] == b"" else b"".join(pieces) + tail
        )


def _trim_comma(body: bytes) -> bytes:
    """The first members went, and the comma after them stayed."""
    head = body.lstrip()[:1]
    rest = body.lstrip()[1:].lstrip()
    return head + rest[1:] if rest[:1] == b"," else body


def _check_utf8(body: bytes) -> None:
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidJson(_reason(exc)) from None


Spans = dict[str, tuple[int, int, int]]  # key -> (start of key, start of value, end of value)


def _compact_length(found: dict[str, Raw]) -> int:
    """The fewest bytes in which an object of these ASCII members can be written, each once."""
    views: Iterable[Sized] = map(memoryview, found.values())  # a Raw is a buffer
    return sum(map(len, found)) + sum(map(len, views)) + 4 * len(found) + (not found) + 1


def _spans_by_length(body: bytes, found: dict[str, Raw]) -> Spans | None:
    """Compact JSON, and Python's default with a space after `,` and `:`, are walked by the lengths of the values:
    if every key stands where the one before it ends, and the last at the end, no key stands twice."""
    spans: Spans = {}
    gap = body[1:20].partition(b":")[2][:1] == b" "
    at, last = 1, len(body) - 1
    for key, value in found.items():
        head = b'"%b": ' % key.encode() if gap else b'"%b":' % key.encode()
        if not body.startswith(head, at):
            return None
        start = at + len(head)
        end = start + len(memoryview(value))
        spans[key] = (at, start, end)
        at = end + 1 + gap
        if end < last and (body[end] != 0x2C or (gap and body[end + 1] != 0x20)):
            return None
    return spans if spans and end == last and body[0] == 0x7B else None


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)
_key = Decoder(str)


def _spans_by_scan(body: bytes, found: dict[str, Raw]) -> Spans:
    """Walk the tokens of a valid object. Only strings and punctuation matter; depth 1 is ours."""
    spans: Spans = {}
    depth, key, key_at, value_at = 0, "", 0, -1
    for match in _TOKEN.finditer(body):
        mark = match.group()
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                _note(spans, body, key, key_at, value_at, match.start())
        elif depth == 1:
            if mark == b":" and value_at < 0:
                value_at = match.end()
            elif mark == b",":
                _note(spans, body, key, key_at, value_at, match.start())
                value_at = -1
            elif value_at < 0:
                key, key_at = _key.decode(mark), match.start()
    if len(spans) != len(found):
        raise InvalidJson("the body is not one JSON object")
    return spans


def _note(spans: Spans, body: bytes, key: str, key_at: int, value_at: int, end: int) -> None:
    if value_at < 0:
        return
    if key in spans:
        raise DuplicateKey(f"the key {key!r} stands twice", param=key)
    while body[value_at : value_at + 1].isspace():
        value_at += 1
    while body[end - 1 : end].isspace():
        end -= 1
    spans[key] = (key_at, value_at, end)


def _key_end(body: bytes, start: int) -> int:
    match = _TOKEN.match(body, start)
    assert match is not None
    return match.end()
