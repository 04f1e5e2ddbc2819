"""Parts: what a message is made of, in requests and in answers alike.

The parts of an answer are the parts of the assistant message that repeats it a turn later, so whatever a
provider wants back (a signature, encrypted reasoning, an item id) sits on the part, and replay is copying.
Everything that grows in a stream is called `text`. The empty string means absent.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct

Extra = dict[str, Raw] | None
ToolKind = Literal["function", "custom", "hosted"]
# hosted: the provider runs it, nobody else may answer it


class Seal(Struct, frozen=True, gc=False):
    """An opaque token its issuer wants back. It is never altered, never given to another issuer, and never
    separated from the part it came on. proof: signs the text beside it. thought: is the encrypted thought."""

    data: str
    issuer: str = ""  # anthropic | gemini | openai | xai | ...; "" when the dialect does not say
    holds: Literal["proof", "thought"] = "proof"


class Span(Struct, frozen=True, gc=False):
    """[start, end) in code points, pages or blocks."""

    start: int
    end: int
    unit: Literal["char", "page", "block"] = "char"


class Citation(Struct, frozen=True, gc=False):
    kind: str  # url | document | file | tool | place
    source: str = ""  # url, file id, document id or index, call id
    title: str = ""
    quote: str = ""
    where: Span | None = None  # in the Text it hangs on; None: all of it
    place: Span | None = None  # in the source
    extra: Extra = None


class Logprob(Struct, frozen=True, gc=False):
    token: str
    logprob: float
    utf8: bytes = b""
    top: tuple[Logprob, ...] = ()


class Text(Struct, frozen=True, gc=False, tag=True):
    text: str = ""
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    seal: Seal | None = None
    cache: str = ""  # a cache breakpoint after this part: "default" or a ttl ("5m", "1h")
    item: str = ""  # id of the item that held the part; neighbours with one id are one item again
    extra: Extra = None


class Thinking(Struct, frozen=True, gc=False, tag=True):
    text: str = ""
    form: Literal["full", "summary", "plan"] = "full"
    seal: Seal | None = None
    logprobs: tuple[Logprob, ...] = ()
    item: str = ""
    extra: Extra = None


class Refusal(Struct, frozen=True, gc=False, tag=True):
    text: str = ""
    logprobs: tuple[Logprob, ...] = ()
    item: str = ""
    extra: Extra = None


class Media(Struct, frozen=True, gc=False, tag=True):
    """One of `data`, `url`, `file` and `text` holds the content; `text` is also an audio part's transcript."""

    kind: Literal["image", "audio", "video", "document"]
    mime: str = ""
    data: str = ""  # base64
    url: str = ""  # http, https, gs or s3 address
    file: str = ""  # the vendor's file id
    text: str = ""
    name: str = ""
    detail: str = ""
    cite: bool = False
    seal: Seal | None = None
    cache: str = ""
    item: str = ""
    extra: Extra = None


class ToolCall(Struct, frozen=True, gc=False, tag=True):
    """`text` is JSON for a function, free text for a custom tool, code for a hosted interpreter: kept as the
    model wrote it, so it may be invalid JSON."""

    id: str
    name: str
    text: str = ""
    kind: ToolKind = "function"
    namespace: str = ""
    seal: Seal | None = None
    cache: str = ""
    item: str = ""
    extra: Extra = None


class ToolResult(Struct, frozen=True, gc=False, tag=True):
    id: str
    name: str = ""
    parts: tuple[Part, ...] = ()
    failed: bool = False
    kind: ToolKind = "function"
    seal: Seal | None = None
    cache: str = ""
    item: str = ""
    extra: Extra = None


class Data(Struct, frozen=True, gc=False, tag=True):
    """Structured output of a tool, where the dialect has structure."""

    value: Raw


class Opaque(Struct, frozen=True, gc=False, tag=True):
    """A whole part only its own dialect understands. It goes home unchanged and is reported elsewhere."""

    dialect: str
    raw: Raw
    item: str = ""


Part = Text | Thinking | Refusal | Media | ToolCall | ToolResult | Data | Opaque
