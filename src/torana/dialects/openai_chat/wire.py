"""The JSON of Chat Completions as types: requests strictly, answers leniently. Knows shapes, no meaning.

https://platform.openai.com/docs/api-reference/chat and what compatible servers were recorded to send. A request
with a wrong type is refused by these types, with the path of the field. Null and absent are one thing. What a
struct does not name is found again by `unknown` and carried as `extra`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from torana.ir import Extra
from torana.wire import json

N_MAX = 128  # OpenAI's own limit; each answer costs a whole generation
TOKENS_MAX = 2**31  # no model is near it; larger numbers are attacks on somebody's integer
TOP_LOGPROBS_MAX = 20  # OpenAI's own limit
TOOLS_MAX = 512  # four times OpenAI's limit, for servers that take more
MESSAGES_MAX = 10_000  # a message costs about 1 us to read; agents' histories stay below 2,000
STOPS_MAX = 512  # OpenAI takes 4, others more

Tokens = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
Number = int | float
NOTHING = Raw(b"")

# ---------------------------------------------------------------- requests


class Url(Struct):
    url: str = ""
    detail: str | None = None


class Sound(Struct):
    data: str | None = None
    format: str | None = None


class File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Content(Struct):
    """One element of a content list, in any of its types."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | Url | None = None
    video_url: str | Url | None = None
    audio_url: str | Url | None = None
    document_url: str | Url | None = None
    file_url: str | Url | None = None
    document_name: str | None = None
    input_audio: str | Sound | None = None
    file: File | None = None
    thinking: "str | list[Content] | None" = None
    summary: "list[Content] | None" = None
    cache_control: dict[str, Raw] | None = None
    prompt_cache_breakpoint: dict[str, Raw] | None = None


class CalledFunction(Struct):
    name: str | None = None
    arguments: str | dict[str, Raw] | None = None


class CalledCustom(Struct):
    name: str | None = None
    input: str | None = None


class Call(Struct):
    id: str | None = None
    type: str | None = None
    index: Number | None = None
    function: CalledFunction | None = None
    custom: CalledCustom | None = None
    cache_control: dict[str, Raw] | None = None
    extra_content: Raw = NOTHING


class Detail(Struct):
    """One of reasoning_details: https://openrouter.ai/docs/use-cases/reasoning-tokens"""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    thinking: str | None = None
    format: str | None = None
    id: str | None = None
    index: Number | None = None


class AudioRef(Struct):
    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: Number | None = None


class Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[str | Content] | Content | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Detail] | None = None
    annotations: list[dict[str, Raw]] | None = None
    audio: AudioRef | None = None
    cache_control: dict[str, Raw] | None = None


class Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Raw] | None = None
    strict: bool | None = None


class Custom(Struct):
    name: str
    description: str | None = None
    format: dict[str, Raw] | None = None


class Tool(Struct):
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    cache_control: dict[str, Raw] | None = None


class Named(Struct):
    name: str = ""


class Allowed(Struct):
    mode: str = "auto"
    tools: "list[Choice]" = []


class Choice(Struct):
    type: str | None = None
    name: str | None = None
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: Allowed | None = None


class Schema(Struct):
    name: str | None = None
    description: str | None = None
    schema: Raw = NOTHING
    strict: bool | None = None


class Format(Struct):
    type: str
    json_schema: Schema | None = None
    schema: Raw = NOTHING


class Effort(Struct):
    effort: str | None = None
    max_tokens: Tokens | None = None
    enabled: bool | None = None


class Budget(Struct):
    budget_tokens: Tokens | None = None


class Thinking(Struct):
    type: str | None = None
    budget_tokens: Tokens | None = None


class Template(Struct):
    enable_thinking: bool | None = None


class Audio(Struct):
    voice: str | dict[str, Raw] | None = None
    format: str | None = None


class Options(Struct):
    include_usage: bool | None = None


class Request(Struct, kw_only=True):
    messages: Annotated[list[Message], Meta(max_length=MESSAGES_MAX)]
    model: str | None = None
    stream: bool | None = None
    stream_options: Options | None = None
    tools: Annotated[list[Tool], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Meta(max_length=TOOLS_MAX)] | None = None
    function_call: str | Named | None = None
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    n_predict: Annotated[int, Meta(ge=-2, le=TOKENS_MAX)] | None = None
    n: Annotated[int, Meta(ge=1, le=N_MAX)] | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Number | None = None
    min_p: Number | None = None
    seed: Number | None = None
    random_seed: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    repetition_penalty: Number | None = None
    stop: str | Annotated[list[str], Meta(max_length=STOPS_MAX)] | None = None
    logit_bias: dict[str, Number] | None = None
    logprobs: bool | Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] | None = None
    response_format: Format | None = None
    reasoning_effort: str | None = None
    reasoning: Effort | None = None
    reasoning_options: Budget | None = None
    thinking: Thinking | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: Template | None = None
    chat_template_args: Template | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Audio | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: dict[str, Raw] | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    cache_control: dict[str, Raw] | None = None


request_decoder = Decoder(Request)

# ---------------------------------------------------------------- answers


class Chunk(Struct):
    """A whole answer and a chunk of a streamed one: `message` in one, `delta` in the other."""

    choices: "list[Said] | None" = None
    id: str | None = None
    model: str | None = None
    created: Number | None = None
    object: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING
    obfuscation: Raw = NOTHING  # padding against traffic analysis, no meaning
    p: Raw = NOTHING  # Mistral's and Bedrock's padding


class Turn(Struct):
    """`message` or `delta`."""

    role: str | None = None
    content: str | list[Raw] | dict[str, Raw] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Detail] | None = None
    tool_calls: "list[Call] | None" = None
    function_call: CalledFunction | None = None
    annotations: list[dict[str, Raw]] | None = None
    audio: AudioRef | None = None
    images: list[Content] | None = None  # OpenRouter's generated images: read from the raw message


class Said(Struct):
    index: int = 0
    delta: Turn | None = None
    message: Turn | None = None
    finish_reason: str | None = None
    logprobs: Raw = NOTHING
    native_finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None
    error: Raw = NOTHING
    text: str | None = None  # Together and Hugging Face repeat the delta here
    obfuscation: Raw = NOTHING


class PlainTurn(Turn, forbid_unknown_fields=True):
    """The same, where an unknown field is noticed: most chunks have none, and then nothing else is read."""


class PlainSaid(Said, forbid_unknown_fields=True):
    delta: PlainTurn | None = None
    message: Turn | None = None


class PlainChunk(Chunk, forbid_unknown_fields=True):
    choices: "list[PlainSaid] | None" = None  # type: ignore[assignment]  # a decoded list is only read


class Token(Struct):
    token: str = ""
    logprob: Number | None = None
    bytes: list[int] | str | None = None
    top_logprobs: "list[Token] | None" = None


class Logprobs(Struct):
    content: list[Token] | None = None
    refusal: list[Token] | None = None
    reasoning_content: list[Token] | None = None
    tokens: list[str | None] | None = None
    token_logprobs: list[Number | None] | None = None


chunk_decoder = Decoder(Chunk)
plain_decoder = Decoder(PlainChunk)
logprobs_decoder = Decoder(Logprobs)
content_decoder = Decoder(Content)

# ---------------------------------------------------------------- what no struct names

object_decoder = Decoder(dict[str, Raw])
objects_decoder = Decoder(list[dict[str, Raw]])
raws_decoder = Decoder(list[Raw])

any_decoder = Decoder()
NULL = b"null"
ABSENT = (b"", NULL)


def present(raw: Raw | None) -> bool:
    return raw is not None and memoryview(raw) not in ABSENT


def text_of(raw: Raw | None) -> str:
    """A string, or "" for anything else."""
    value = any_decoder.decode(raw) if raw else None
    return value if isinstance(value, str) else ""


def number_of(raw: Raw | None) -> int | None:
    value = any_decoder.decode(raw) if raw else None
    return int(value) if isinstance(value, int | float) else None


def unknown(fields: dict[str, Raw], known: frozenset[str]) -> Extra:
    """The fields that are not `known` and not null."""
    if fields.keys() <= known:
        return None
    return {name: raw for name, raw in fields.items() if name not in known and present(raw)} or None


def names(struct: type[Struct]) -> frozenset[str]:
    return frozenset(struct.__struct_fields__)


def nested(outer: Extra, name: str, inner: Extra) -> Extra:
    """`inner` carried as one field of `outer`: what was unknown inside an object that is known."""
    if not inner:
        return outer
    return {**(outer or {}), name: Raw(json.encode(inner))}


def merged(body: dict[str, object], extra: Extra) -> dict[str, object]:
    """A rendered object with its unknown fields back in place, one level into objects that are known."""
    for name, raw in (extra or {}).items():
        mine = body.get(name)
        if isinstance(mine, dict) and bytes(raw)[:1] == b"{":
            mine.update(object_decoder.decode(raw))
        else:
            body[name] = raw
    return body
