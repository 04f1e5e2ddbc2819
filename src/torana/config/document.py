"""A YAML file as values that remember their lines. Knows nothing of what a configuration may hold.

It reads the parser's events rather than its objects, for three reasons: every value keeps its line; a key that
stands twice is refused where a loader would keep the last; and only the plain scalars of YAML 1.2 get a type, so
that a model called `no`, a date or `010` stays the text it looks like. Tags are refused: they name Python types.
"""

import re
from collections.abc import Iterator

import yaml
from msgspec import Struct

from torana.errors import ConfigError

FILE_BYTES_MAX = 1_000_000  # ten thousand keys with room to spare; a larger file is the wrong file
VALUES_MAX = 200_000  # after aliases are expanded: nine aliases of nine each would otherwise fill the memory
DEPTH_MAX = 24  # the deepest key we document is seven levels down
NAME_SHOWN_MAX = 40  # characters; a longer "key" may be a secret put in the wrong place

Place = tuple[str | int, ...]  # the way to a value: ("keys", 0, "secret")


class Scalar(Struct):
    """`value` has the type YAML gives the text; `filled` is set once a reference in the text was filled in, after
    which the text alone counts and takes the type that is asked for."""

    line: int
    text: str
    value: str | int | float | bool | None
    filled: bool = False


class Sequence(Struct):
    line: int
    items: list["Node"]


class Table(Struct):
    line: int
    items: dict[str, "Node"]
    lines: dict[str, int]  # of each key


Node = Scalar | Sequence | Table


def shown(name: str) -> str:
    """A key of the file, as an error may repeat it."""
    return repr(name) if len(name) <= NAME_SHOWN_MAX else f"{name[:8]!r}..."


def line_of(root: Node, place: Place) -> int:
    """The line of a value, or of the nearest thing around it that the file holds."""
    node, line = root, root.line
    for step in place:
        if isinstance(node, Table) and isinstance(step, str) and step in node.items:
            line, node = node.lines[step], node.items[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            line = node.line
        else:
            break
    return line


def parse(text: bytes, origin: str) -> Table:
    """The document's top level. An empty file is an empty mapping. Raises ConfigError naming the line."""
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"{origin} is larger than {FILE_BYTES_MAX} bytes; is it the right file?")
    try:
        words = text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = text.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{origin}, line {line}: the file is not UTF-8 text") from None
    try:
        root = _Builder(words, origin).document()
    except yaml.YAMLError as exc:
        raise ConfigError(f"{origin}{_where(exc)}: {_why(exc)}{_hint(exc, words)}") from None
    if not isinstance(root, Table):
        raise ConfigError(f"{origin}, line {root.line}: expected `section: ...` lines at the top level")
    return root


def _where(exc: yaml.YAMLError) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _why(exc: yaml.YAMLError) -> str:
    """The parser's sentence without its excerpt of the file, which may hold a secret."""
    if isinstance(exc, yaml.reader.ReaderError):
        return "the file holds a control character"
    problem = getattr(exc, "problem", None)
    return f"not YAML: {problem}" if problem else "not YAML"


def _hint(exc: yaml.YAMLError, words: str) -> str:
    mark = getattr(exc, "problem_mark", None)
    lines = words.splitlines()
    if mark is not None and mark.line < len(lines) and "${" in lines[mark.line]:
        return "; between { } a ${NAME} stands in quotes"
    return ""


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


class _Builder:
    def __init__(self, text: str, origin: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._origin = origin
        self._anchors: dict[str, tuple[Node, int]] = {}  # with its size in values
        self._count = 0

    def document(self) -> Node:
        self._take()  # the stream's start
        if isinstance(self._take(), yaml.StreamEndEvent):
            return Table(1, {}, {})
        root = self._node(self._take(), 0)
        self._take()  # the document's end
        if not isinstance(extra := self._take(), yaml.StreamEndEvent):
            raise self._refusal(extra, "a second document (`---`) in one file")
        return Table(root.line, {}, {}) if isinstance(root, Scalar) and root.value is None else root

    def _take(self) -> yaml.Event:
        return next(self._events)

    def _refusal(self, event: yaml.Event, why: str) -> ConfigError:
        return ConfigError(f"{self._origin}, line {_line(event)}: {why}")

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > DEPTH_MAX:
            raise self._refusal(event, f"nested more than {DEPTH_MAX} levels deep")
        if not isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            raise self._refusal(event, "not YAML that a configuration can hold")
        if event.tag is not None:
            raise self._refusal(event, "tags (`!name`) are not part of a configuration; remove it")
        before = self._count
        self._spend(event, 1)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        if event.anchor not in self._anchors:
            why = "an alias (`*name`) of nothing that stands above it; quote a text that begins with `*`"
            raise self._refusal(event, why)
        node, size = self._anchors[event.anchor]
        self._spend(event, size)
        return node

    def _spend(self, event: yaml.Event, count: int) -> None:
        self._count += count
        if self._count > VALUES_MAX:
            raise self._refusal(event, f"more than {VALUES_MAX} values once aliases are expanded")

    def _sequence(self, start: yaml.SequenceStartEvent, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := self._take(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(_line(start), items)

    def _mapping(self, start: yaml.MappingStartEvent, depth: int) -> Table:
        mapping = Table(_line(start), {}, {})
        merged: list[Table] = []
        while not isinstance(event := self._take(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(self._take(), depth + 1)
            if not isinstance(key, Scalar):
                raise self._refusal(event, "a key must be plain text")
            if key.text == "<<":
                merged += self._merged(event, value)
            elif key.text in mapping.items:
                first = mapping.lines[key.text]
                raise self._refusal(event, f"the key {shown(key.text)} stands twice (first on line {first})")
            else:
                mapping.items[key.text] = value
                mapping.lines[key.text] = key.line
        for source in merged:  # keys that stand here win, then those of earlier sources
            for name, value in source.items.items():
                if name not in mapping.items:
                    mapping.items[name] = value
                    mapping.lines[name] = source.lines[name]
        return mapping

    def _merged(self, event: yaml.Event, value: Node) -> list[Table]:
        """https://yaml.org/type/merge.html"""
        sources = value.items if isinstance(value, Sequence) else [value]
        found = [source for source in sources if isinstance(source, Table)]
        if len(found) != len(sources):
            raise self._refusal(event, "`<<` takes a mapping or a list of mappings")
        return found


# The scalars of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#1032-tag-resolution), without octal,
# hexadecimal, infinity and not-a-number, which no setting of ours takes.
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,18}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?")


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    value: str | int | float | bool | None = text
    if not event.style:  # not quoted: None or "", as the parser likes
        if text in _WORDS:
            value = _WORDS[text]
        elif _INT.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
            value = int(text)
        elif _FLOAT.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
            value = float(text)
    return Scalar(_line(event), text, value)


_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml where the wheel has it: the same events, faster
