"""The shapes of Anthropic's JSON, and how a shape is read without losing what it does not name.

https://platform.claude.com/docs/en/api/messages. Every struct lists the fields this dialect understands and forbids
the rest; `Known.read` gives what it forbade back as `extra`. Knows nothing of what the fields mean.
"""

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.json import Decoder

from torana.errors import Error
from torana.ir import Extra
from torana.wire.json import encode, read

DIALECT = "anthropic"
ISSUER = "anthropic"  # of the signatures its models put on their thoughts

MESSAGES_MAX = 10_000  # fault matrix V30; the longest recorded conversation has a few hundred
TOOLS_MAX = 512  # fault matrix V30
TOKENS_MAX = 2**31  # fault matrix V30: what fits a signed 32-bit column everywhere

ABSENT = Raw(b"")
NULL = Raw(b"null")
QUOTE, BRACKET, BRACE = b'"[{'

T_co = TypeVar("T_co", bound=Struct, covariant=True)
Count = Annotated[int, Meta(ge=0, le=2**53)]  # beyond 2^53 a JavaScript client would read another number
Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
Number = float | int
Role = Literal["user", "assistant", "system"]


class Known(Generic[T_co]):
    """Reads one struct; unknown fields that are not null come beside it."""

    __slots__ = ("_decoder", "names")

    def __init__(self, shape: type[T_co]) -> None:
        self._decoder = Decoder(shape)
        tag = shape.__struct_config__.tag_field
        self.names = frozenset(shape.__struct_encode_fields__) | ({tag} if tag else set())

    def read(self, raw: bytes | Raw, refusal: type[Error]) -> tuple[T_co, Extra]:
        try:
            return self._decoder.decode(raw), None
        except (MsgspecError, UnicodeDecodeError, RecursionError):
            known, extra = self.split(read(OBJECT, raw, refusal))
            return read(self._decoder, encode(known), refusal), extra

    def split(self, fields: dict[str, Raw]) -> tuple[dict[str, Raw], Extra]:
        known = {name: value for name, value in fields.items() if name in self.names}
        extra = {name: value for name, value in fields.items() if name not in self.names and said(value)}
        return known, extra or None


def said(value: Raw) -> bool:
    """Neither absent nor null."""
    return bool(value) and value != NULL


def first_byte(value: Raw) -> int:
    """0 for an absent one. JSON's values tell themselves apart by it, and a big one is not copied for that."""
    return memoryview(value)[0] if value else 0


def check_utf8(body: bytes, refusal: type[Error]) -> None:
    """A Raw value is skipped over, not read: what it holds has to be text before anyone copies it."""
    if body.isascii():
        return
    try:
        str(body, "utf-8")
    except UnicodeDecodeError:
        raise refusal("the text is not valid UTF-8") from None


def text_of(value: Raw) -> str:
    return bytes(value).decode()


OBJECT = Decoder(dict[str, Raw])
LIST = Decoder(list[Raw])
STRING = Decoder(str)


# ---------------------------------------------------------------- blocks


class BlockType(Struct):
    type: str


class TextBlock(Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    text: str
    citations: list[Raw] | None = None
    cache_control: Raw = ABSENT


class ImageBlock(Struct, tag="image", tag_field="type", forbid_unknown_fields=True):
    source: Raw
    cache_control: Raw = ABSENT


class CiteSwitch(Struct):
    enabled: bool | None = None


class DocumentBlock(Struct, tag="document", tag_field="type", forbid_unknown_fields=True):
    source: Raw
    title: str | None = None
    citations: CiteSwitch | None = None
    cache_control: Raw = ABSENT


class Source(Struct, forbid_unknown_fields=True):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: Raw = ABSENT


class ToolUse(Struct, tag="tool_use", tag_field="type", forbid_unknown_fields=True):
    id: str
    name: str
    input: Raw = ABSENT
    caller: Raw = ABSENT
    cache_control: Raw = ABSENT


class ServerToolUse(Struct, tag="server_tool_use", tag_field="type", forbid_unknown_fields=True):
    id: str
    name: str
    input: Raw = ABSENT
    caller: Raw = ABSENT
    cache_control: Raw = ABSENT


class McpToolUse(Struct, tag="mcp_tool_use", tag_field="type", forbid_unknown_fields=True):
    id: str
    name: str
    server_name: str
    input: Raw = ABSENT
    cache_control: Raw = ABSENT


class ToolResultBlock(Struct, tag="tool_result", tag_field="type", forbid_unknown_fields=True):
    tool_use_id: str
    content: Raw = ABSENT
    is_error: bool | None = None
    cache_control: Raw = ABSENT


class HostedResult(Struct, forbid_unknown_fields=True):
    """web_search_tool_result, mcp_tool_result and their like: `type` is the tool's name and `_tool_result`."""

    type: str
    tool_use_id: str
    content: Raw = ABSENT
    is_error: bool | None = None
    caller: Raw = ABSENT
    cache_control: Raw = ABSENT


class ThinkingBlock(Struct, tag="thinking", tag_field="type", forbid_unknown_fields=True):
    thinking: str
    signature: str | None = None


class RedactedThinking(Struct, tag="redacted_thinking", tag_field="type", forbid_unknown_fields=True):
    data: str


TaggedBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ToolUse
    | ServerToolUse
    | McpToolUse
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinking
)
Block = TaggedBlock | HostedResult

BLOCK = Decoder(TaggedBlock)
BLOCK_TYPE = Decoder(BlockType)
SOURCE = Known(Source)
HOSTED_RESULT = Known(HostedResult)
BLOCKS: dict[str, Known[TaggedBlock]] = {
    "text": Known(TextBlock),
    "image": Known(ImageBlock),
    "document": Known(DocumentBlock),
    "tool_use": Known(ToolUse),
    "server_tool_use": Known(ServerToolUse),
    "mcp_tool_use": Known(McpToolUse),
    "tool_result": Known(ToolResultBlock),
    "thinking": Known(ThinkingBlock),
    "redacted_thinking": Known(RedactedThinking),
}


class CitationFields(Struct, forbid_unknown_fields=True):
    type: str
    cited_text: str | None = None
    document_index: int | None = None
    document_title: str | None = None
    start_char_index: int | None = None
    end_char_index: int | None = None
    start_page_number: int | None = None
    end_page_number: int | None = None
    start_block_index: int | None = None
    end_block_index: int | None = None
    url: str | None = None
    source: str | None = None
    title: str | None = None


CITATION = Known(CitationFields)


class CacheControl(Struct, forbid_unknown_fields=True):
    type: str
    ttl: str | None = None


CACHE = Known(CacheControl)


# ---------------------------------------------------------------- requests


class MessageFields(Struct, forbid_unknown_fields=True):
    role: Role
    content: Raw


MESSAGE = Known(MessageFields)


class ToolFields(Struct, forbid_unknown_fields=True):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    defer_loading: bool | None = None
    cache_control: Raw = ABSENT


TOOL = Known(ToolFields)


class ToolType(Struct):
    type: str | None = None
    cache_control: Raw = ABSENT


TOOL_TYPE = Decoder(ToolType)


class ChoiceFields(Struct, forbid_unknown_fields=True):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


CHOICE = Known(ChoiceFields)


class ThinkingFields(Struct, forbid_unknown_fields=True):
    type: str
    budget_tokens: Tokens | None = None
    display: str | None = None


THINKING = Known(ThinkingFields)


class FormatFields(Struct, forbid_unknown_fields=True):
    type: str
    schema: Raw = ABSENT


FORMAT = Known(FormatFields)


class OutputFields(Struct, forbid_unknown_fields=True):
    effort: str | None = None
    format: Raw = ABSENT


OUTPUT = Known(OutputFields)


class MetadataFields(Struct, forbid_unknown_fields=True):
    user_id: str | None = None


METADATA = Known(MetadataFields)


class RequestFields(Struct, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[list[Raw], Meta(max_length=MESSAGES_MAX)]
    model: str | None = None
    max_tokens: Tokens | None = None
    system: Raw = ABSENT
    tools: Annotated[list[Raw], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: Raw = ABSENT
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Number | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    thinking: Raw = ABSENT
    output_config: Raw = ABSENT
    output_format: Raw = ABSENT
    metadata: Raw = ABSENT
    service_tier: str | None = None
    cache_control: Raw = ABSENT


REQUEST = Known(RequestFields)


# ---------------------------------------------------------------- answers


class CacheCreation(Struct):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class OutputDetails(Struct):
    thinking_tokens: Count | None = None


class UsageFields(Struct, forbid_unknown_fields=True):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: dict[str, Count | None] | None = None
    service_tier: str | None = None


USAGE = Known(UsageFields)


class AnswerFields(Struct, kw_only=True, forbid_unknown_fields=True):
    type: str = ""
    id: str | None = None
    role: str | None = None
    model: str | None = None
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT
    request_id: str | None = None


ANSWER = Known(AnswerFields)


# ---------------------------------------------------------------- streams


class DeltaFields(Struct):
    """The four deltas of content that grows; any other is read from `raw` again."""

    type: str
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Raw = ABSENT


class BlockDelta(Struct):
    type: str
    index: int = 0
    delta: DeltaFields | None = None


DELTA = Decoder(DeltaFields)
BLOCK_DELTA = Decoder(BlockDelta)


class StreamFields(Struct):
    type: str
    index: int = 0
    message: Raw = ABSENT
    content_block: Raw = ABSENT
    delta: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT


STREAM_EVENT = Decoder(StreamFields)


class StopFields(Struct, forbid_unknown_fields=True):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw = ABSENT


STOP = Known(StopFields)
