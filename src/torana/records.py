"""What we know about keys, providers, models, calls and spend. How it is stored is another room's question.

Money is integer: prices in pico-dollars per token (10^-12 USD), amounts in nano-dollars (10^-9 USD). Times are
microseconds since 1970, UTC; durations are microseconds of the monotonic clock.
"""

from typing import Literal

from msgspec import Struct

# ---------------------------------------------------------------- providers and models


class Accent(Struct, frozen=True):
    """How one provider's spelling differs from its dialect: data, applied after the dialect spoke.

    `rename`, `drop`, `default` and `values` are about top-level fields of the request body; `role` about message
    roles; `reasoning` names the spelling of reasoning settings, `thought` the field that carries thoughts back.
    """

    rename: dict[str, str] = {}  # our field -> theirs: {max_completion_tokens: max_tokens}
    drop: tuple[str, ...] = ()
    default: dict[str, object] = {}
    values: dict[str, dict[str, str]] = {}  # field -> {our word: theirs}: {tool_choice: {required: any}}
    role: dict[str, str] = {}  # {developer: system}
    reasoning: Literal["effort", "object", "thinking", "enable_thinking", "template", "none"] = "effort"
    # effort: reasoning_effort. object: reasoning{effort,max_tokens,enabled}. thinking: thinking{type}.
    # enable_thinking: a boolean. template: chat_template_kwargs{enable_thinking}. none: cannot be said.
    thought: Literal["reasoning_content", "reasoning", "content", ""] = "reasoning_content"
    stream_usage: bool = True  # understands stream_options.include_usage


class Traits(Struct, frozen=True):
    """What a renderer must know about one target: its accent and what its model can do. None: unknown."""

    accent: Accent = Accent()
    output_max: int | None = None  # tokens
    thinking: Literal["", "budget", "adaptive"] = ""  # how an Anthropic model is asked to think
    structured: bool | None = None  # takes a JSON Schema for its answer natively
    sampling: bool = True  # takes temperature, top_p and top_k
    system_in_place: bool = False  # takes a system message after the first turn
    issuer: str = ""  # whose seals this target accepts: "anthropic", "openai", "gemini", ...
    thoughts: Literal["text", "drop"] = "text"  # foreign thoughts become labelled text, or are left out
    version: str = ""  # the API version to speak, where the dialect has several


class Timeouts(Struct, frozen=True):
    """Seconds. See docs/limits.md for why each has its default."""

    connect_s: float = 5.0
    first_byte_s: float = 60.0  # a streamed call's first byte; the others wait for `total_s`
    between_s: float = 120.0
    total_s: float = 600.0


class Provider(Struct, frozen=True, kw_only=True):
    """Who answers: an address, a credential and an accent. A row of catalog.yaml, or of the user's config with the
    same fields. `base_url` and `headers` may hold {RESOURCE}-style names that the environment fills."""

    name: str = ""
    title: str = ""
    dialect: str = "openai_chat"
    base_url: str = ""
    api_key: str = ""  # resolved; never printed
    env: tuple[str, ...] = ()  # names of the environment variables that may hold the key, first found wins
    auth: Literal["bearer", "x-api-key", "api-key", "none"] = "bearer"
    headers: dict[str, str] = {}
    path: str = ""  # replaces the dialect's path; {model} is the deployment
    query: str = ""
    accent: Accent = Accent()
    issuer: str = ""
    discover: bool = False  # read the server's own model list
    local: bool = False  # needs no key: ollama, vllm, llama.cpp, lmstudio
    models: str = ""  # the provider whose rows of the model data it serves; "" for its own name
    docs: str = ""
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        """Without the credential, which must not reach a log by way of a traceback."""
        return f"Provider({self.name!r}, {self.dialect!r}, {self.base_url!r})"


class Price(Struct, frozen=True, gc=False, omit_defaults=True):
    """Pico-dollars per token by class of ir.Usage, and nano-dollars per run or call. None: not priced apart, so the
    class it is part of pays (cache classes pay `input`, reasoning pays `output`, audio pays its direction)."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    cache_audio_read: int | None = None
    input_image: int | None = None
    output_image: int | None = None
    request: int = 0  # nano-dollars per request
    calls: dict[str, int] | None = None  # nano-dollars per hosted tool run: {"web_search": 10_000_000}
    above: tuple["Tier", ...] = ()


class Tier(Struct, frozen=True, gc=False):
    """The whole price card of a request whose prompt passes `tokens`."""

    tokens: int
    price: Price


class Model(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider's model is. Unknown is None or empty, never a guess."""

    id: str
    provider: str = ""
    title: str = ""
    context: int | None = None  # tokens
    output_max: int | None = None  # tokens
    input: tuple[str, ...] = ()  # text, image, audio, video, document
    output: tuple[str, ...] = ()
    tools: bool | None = None
    structured: bool | None = None
    reasoning: bool | None = None
    thinking: Literal["", "budget", "adaptive"] = ""
    sampling: bool = True
    created: int = 0  # seconds since 1970
    price: Price | None = None
    priced: str = ""  # version of the price: its source and date


class Target(Struct, frozen=True):
    """One place a call may be sent: a provider and the model's name there."""

    provider: Provider
    model: str
    row: Model | None = None
    traits: Traits = Traits()


# ---------------------------------------------------------------- who asks


class Key(Struct, frozen=True, gc=False):
    """A virtual key. Only the digest of its secret is kept."""

    id: str
    name: str
    digest: bytes  # SHA-256 of the secret
    prefix: str = ""  # the readable beginning, enough to tell keys apart
    created: int = 0
    revoked: int = 0  # 0: valid
    source: Literal["config", "store", "generated"] = "store"


class Snapshot(Struct, frozen=True):
    """All that the data path reads of configuration and store, swapped whole. `aliases` are the configured model
    names, each with its targets in order."""

    keys: dict[bytes, Key] = {}
    providers: dict[str, Provider] = {}
    models: dict[str, dict[str, Model]] = {}  # provider -> model id -> row
    aliases: dict[str, tuple[str, ...]] = {}
    version: int = 0


# ---------------------------------------------------------------- what happened

State = Literal["intent", "ok", "error", "cancelled", "incomplete"]
# intent: begun and not settled; after a crash it is all there is, and says so


class Tokens(Struct, frozen=True, gc=False):
    """ir.Usage as columns."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    tool_input: int = 0
    output: int = 0
    reasoning: int = 0
    other: int = 0
    estimated: bool = False


class AttemptEntry(Struct, gc=False):
    """One request to one provider."""

    call_id: str
    number: int  # from 1
    provider: str
    model: str
    started: int
    state: State = "intent"
    status: int = 0  # the provider's HTTP status; 0 if none came
    error: str = ""
    upstream_id: str = ""  # the provider's own request id
    latency: int = 0
    first: int = -1  # to the first visible token; -1: none came


class CallEntry(Struct, gc=False):
    """One request of a caller. `id` is ours: no caller can choose it."""

    id: str
    key_id: str
    surface: str  # the caller's dialect
    asked: str  # the model as the caller named it
    stream: bool
    started: int
    state: State = "intent"
    status: int = 0  # what the caller was answered
    error: str = ""
    provider: str = ""
    model: str = ""
    attempts: int = 0
    tokens: Tokens = Tokens()
    cost: int | None = None  # nano-dollars; None: the price is not known
    priced: str = ""
    latency: int = 0
    first: int = -1
    overhead: int = 0  # of latency, what was not waiting for the provider
    user: str = ""
    metadata: str = ""  # JSON object, "" if none
    dropped: str = ""
