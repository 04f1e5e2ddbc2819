"""The gateway without the gateway: pure, synchronous translation between any two dialects.

    from torana import translate

    asked = translate.request(body, "openai_chat", "anthropic")      # asked.body, asked.losses
    relay = translate.Relay("anthropic", "openai_chat", undo=asked.undo)
    for chunk in upstream:
        client.write(relay.feed(chunk))
    client.write(relay.close())                                       # raises if the stream was cut

Knows no server, no provider and no clock.
"""

from typing import cast

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from torana import ir
from torana.dialects import DIALECTS, Context, Dialect, Head, Rendered, Traits, Undo
from torana.errors import Error, InvalidRequest

__all__ = ["Relay", "Restorer", "dialect", "request", "response"]


def dialect(name: str) -> Dialect:
    """The dialect of that name; InvalidRequest lists the names there are."""
    found = DIALECTS.get(name)
    if found is None:
        raise InvalidRequest(f"no dialect {name!r}; there are: {', '.join(DIALECTS)}")
    return found


def request(
    body: bytes, source: str, target: str, traits: Traits = Traits(), head: Head = Head()
) -> Rendered:
    """A request of one dialect as a request of another. Raises errors of the CALLER's kind."""
    return dialect(target).render_request(dialect(source).parse_request(body, head), traits)


def response(
    body: bytes, source: str, target: str, context: Context = Context(), undo: Undo | None = None
) -> Rendered:
    """A whole answer of one dialect as an answer of another. Raises UpstreamInvalid, or the error it holds."""
    events = Restorer(undo).feed(dialect(source).parse_response(body))
    whole = ir.fold(events)
    if whole.error is not None:
        raise whole.error
    return dialect(target).render_response(whole, context)


class Relay:
    """A stream in one dialect, retold in another as it arrives.

    A stream that breaks its dialect's rules, or ends before its end, raises; fail() then says so in band.
    """

    __slots__ = ("_parser", "_renderer", "_restorer")

    def __init__(
        self, source: str, target: str, context: Context = Context(), undo: Undo | None = None
    ) -> None:
        self._parser = dialect(source).Parser()
        self._renderer = dialect(target).Renderer(context)
        self._restorer = Restorer(undo)

    def feed(self, data: bytes) -> bytes:
        return self._renderer.render(self._restorer.feed(self._parser.feed(data)))

    def close(self) -> bytes:
        return self._renderer.render(self._restorer.feed(self._parser.close()))

    def fail(self, error: Error) -> bytes:
        return self._renderer.fail(error)


class _Input(Struct):
    """How a custom tool's free text travels where only functions exist."""

    input: str


_input = Decoder(_Input)


class Restorer:
    """Changes back, in the answer, what rendering the request had to change: tool names, custom tools that
    travelled as functions, a forced tool whose arguments are the answer."""

    __slots__ = ("_answers", "_customs", "_spoken", "_undo")

    def __init__(self, undo: Undo | None) -> None:
        self._undo = undo
        self._customs: dict[int, list[str]] = {}  # open custom calls: their JSON as it grows
        self._answers: set[int] = set()  # open parts that were the forced tool
        self._spoken = False  # a real tool call was seen, so tool_calls stays the finish

    def feed(self, events: list[ir.Event]) -> list[ir.Event]:
        undo = self._undo
        if undo is None:
            return events
        restored: list[ir.Event] = []
        for event in events:
            match event:
                case ir.Open(part=ir.ToolCall(kind="function")):
                    restored.append(self._open(event, undo))
                case ir.Delta(index, text) if index in self._customs:
                    self._customs[index].append(text)
                case ir.Attach(index) if index in self._answers:
                    pass  # a call's seal has no place on the text it became
                case ir.Close(index) if index in self._customs:
                    restored += [ir.Delta(index, _free_text("".join(self._customs.pop(index)))), event]
                case ir.Finished(choice, "tool_calls", native) if undo.answer_tool and not self._spoken:
                    restored.append(ir.Finished(choice, "stop", native))
                case _:
                    restored.append(event)
        return restored

    def _open(self, event: ir.Open, undo: Undo) -> ir.Event:
        part = cast("ir.ToolCall", event.part)
        if part.name == undo.answer_tool:
            self._answers.add(event.index)
            return ir.Open(event.index, ir.Text(part.text), event.choice)
        self._spoken = True
        name = undo.names.get(part.name, part.name)
        if part.name not in undo.customs:
            return ir.Open(event.index, replace(part, name=name), event.choice)
        self._customs[event.index] = [part.text]
        return ir.Open(event.index, replace(part, name=name, kind="custom", text=""), event.choice)


def _free_text(arguments: str) -> str:
    """What a model wrote for {"input": text}; kept as written when it is not that."""
    try:
        return _input.decode(arguments).input
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return arguments
