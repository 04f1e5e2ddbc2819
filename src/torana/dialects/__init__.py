"""How each API family spells a conversation.

A dialect is a module, and the module is the implementation: mypy checks it against Dialect below. It is pure:
it opens no socket, reads no clock, draws no random number, and keeps no state outside the Parser, Renderer and
Watch a caller makes per stream. parse_* turns bytes into meaning, render_* turns meaning into bytes. Each comes
in a request and a response flavour because the gateway stands on both sides.

Nothing is dropped in silence. A parameter the target cannot carry is named in `Rendered.losses`; a part of the
conversation it cannot carry raises UnsupportedContent naming it. `Opaque` parts and `extra` fields of another
dialect are losses.
"""

from types import MappingProxyType
from typing import Protocol

from torana.dialects import anthropic, openai_chat
from torana.dialects.interface import (
    Accent,
    Context,
    Edits,
    Envelope,
    Glance,
    Head,
    Rendered,
    StreamParser,
    StreamRenderer,
    StreamWatch,
    Traits,
    Undo,
)
from torana.errors import Error
from torana.ir import Event, Request, Response


class Dialect(Protocol):
    # -- requests
    def parse_request(self, body: bytes, head: Head = ..., envelope: Envelope | None = ...) -> Request: ...
    def render_request(self, request: Request, traits: Traits = ...) -> Rendered: ...
    def read_envelope(self, body: bytes, head: Head = ...) -> Envelope: ...
    def splice(self, envelope: Envelope, edits: Edits) -> bytes: ...
    def path(self, model: str, *, stream: bool) -> str: ...

    # -- answers
    def parse_response(self, body: bytes) -> list[Event]: ...
    def read_response(self, body: bytes) -> Response: ...  # fold(parse_response(body))
    def render_response(self, response: Response, context: Context = ...) -> Rendered: ...
    def glance(self, body: bytes) -> Glance: ...
    def Parser(self) -> StreamParser: ...
    def Renderer(self, context: Context = ...) -> StreamRenderer: ...
    def Watch(self, *, hide_usage: bool = ...) -> StreamWatch: ...

    # -- errors
    def parse_error(self, status: int, body: bytes) -> Error: ...
    def render_error(self, error: Error, request_id: str = ...) -> bytes: ...


DIALECTS: MappingProxyType[str, Dialect] = MappingProxyType(
    {"openai_chat": openai_chat, "anthropic": anthropic}
)

__all__ = [
    "DIALECTS",
    "Accent",
    "Context",
    "Dialect",
    "Edits",
    "Envelope",
    "Glance",
    "Head",
    "Rendered",
    "StreamParser",
    "StreamRenderer",
    "StreamWatch",
    "Traits",
    "Undo",
]
