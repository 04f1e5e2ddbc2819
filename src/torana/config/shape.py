"""What torana.yaml may hold: names, types, bounds, defaults and one sentence each. Decides nothing.

The sentences are the descriptions of the JSON Schema and of the tables in docs/config.md. Rows that override
something (`*Row`) have no defaults: a field that was not written is UNSET and leaves what it would override.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from torana.config.secret import Secret
from torana.net.limits import ServerLimits

Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]*$")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]  # a day: longer is a typing mistake
Epoch = Annotated[int, Meta(ge=0)]
Tokens = Annotated[int, Meta(gt=0, le=1_000_000_000)]
TARGETS_MAX = 16  # places one name may lead to


def _says(description: str) -> Meta:
    return Meta(description=description)


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    cert: Annotated[Text, _says("PEM file of the certificate and its chain.")]
    key: Annotated[Text, _says("PEM file of the private key.")]


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    host: Annotated[
        Text, _says("Address to listen on. Any but a loopback address needs a key of your own.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535), _says("Port to listen on; 0 takes a free one.")] = 8080
    public_models: Annotated[bool, _says("Whether the lists of models are served without a key.")] = False
    public_metrics: Annotated[
        bool, _says("Whether /metrics is served without a key beyond the loopback address.")
    ] = False
    tls: Annotated[Tls | None, _says("Serve HTTPS with this certificate.")] = None
    limits: Annotated[ServerLimits, _says("What one caller may cost.")] = ServerLimits()
    drain_s: Annotated[
        float, Meta(ge=0, le=3600), _says("How long calls in flight may go on after SIGTERM.")
    ] = 30.0
    grace_s: Annotated[
        float,
        Meta(ge=0, le=300),
        _says("How long the listener still answers, with 503, after SIGTERM, so that load balancers notice."),
    ] = 0.0


LIMITS = {  # net.limits says why each has its size
    "connections_max": "Connections at a time; the next is told 503.",
    "refused_connections_max": "Connections beyond these that are still told so.",
    "headers_s": "For a request's head to arrive.",
    "idle_s": "Between two requests of a connection.",
    "body_grace_s": "Within each such period a body brings its share of bytes.",
    "body_bytes_per_s_min": "That share.",
    "header_bytes_max": "Request line and header lines together.",
    "headers_max": "Header lines.",
    "target_bytes_max": "Path and query.",
    "body_bytes_max": "A request's body.",
    "chunk_overhead_factor": "Framing bytes per byte of a chunked body.",
    "held_bytes_max": "Bytes of pipelined requests that wait.",
    "write_stall_s": "For a caller that reads nothing of its answer.",
    "write_high_bytes": "Unsent bytes above which the provider is no longer read.",
    "write_low_bytes": "Unsent bytes below which it is read again.",
    "send_buffer_bytes": "The kernel's own buffer of a connection.",
    "linger_s": "For the rest of a refused request.",
    "sweep_max_s": "Between two looks at these deadlines.",
}


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[Text, _says("sqlite:///relative.db, sqlite:////absolute/path.db or memory:")] = (
        "sqlite:///torana.db"
    )
    durability: Annotated[
        Literal["balanced", "strict"],
        _says(
            "balanced: a crash loses at most 50 ms of entries. strict: none, and each call waits for the disk."
        ),
    ] = "balanced"


class KeyRow(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[Name, _says("Who holds the key; the name that reports show.")]
    secret: Annotated[
        Secret | UnsetType, _says("What callers send: at least 16 characters. Give this or `hash`.")
    ] = UNSET
    hash: Annotated[
        str | UnsetType, _says("sha256: and the 64 hexadecimal digits of the secret's SHA-256 digest.")
    ] = UNSET


class AccentRow(Struct, frozen=True, forbid_unknown_fields=True):
    rename: Annotated[dict[str, str] | UnsetType, _says("Request fields by our name: theirs.")] = UNSET
    drop: Annotated[tuple[str, ...] | UnsetType, _says("Request fields it does not take.")] = UNSET
    default: Annotated[dict[str, object] | UnsetType, _says("Request fields to set where absent.")] = UNSET
    values: Annotated[
        dict[str, dict[str, str]] | UnsetType, _says("Request fields whose words differ, our word: theirs.")
    ] = UNSET
    role: Annotated[dict[str, str] | UnsetType, _says("Message roles by our name: theirs.")] = UNSET
    reasoning: Annotated[
        Literal["effort", "object", "thinking", "enable_thinking", "template", "none"] | UnsetType,
        _says("How a request for reasoning is spelled."),
    ] = UNSET
    thought: Annotated[
        Literal["reasoning_content", "reasoning", "content", ""] | UnsetType,
        _says("The message field that carries thoughts."),
    ] = UNSET
    stream_usage: Annotated[
        bool | UnsetType, _says("Whether it understands stream_options.include_usage.")
    ] = UNSET


class TimeoutsRow(Struct, frozen=True, forbid_unknown_fields=True):
    connect_s: Annotated[Seconds | UnsetType, _says("To connect, the TLS handshake included.")] = UNSET
    first_byte_s: Annotated[Seconds | UnsetType, _says("To the first byte of a streamed answer.")] = UNSET
    between_s: Annotated[Seconds | UnsetType, _says("Between two reads of an answer.")] = UNSET
    total_s: Annotated[Seconds | UnsetType, _says("To the end of the answer.")] = UNSET


class PriceRow(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars per million tokens, as price lists have them; `request` and `calls` in dollars each."""

    input: Annotated[Decimal, _says("Dollars per million prompt tokens.")] = Decimal(0)
    output: Annotated[Decimal, _says("Dollars per million answer tokens.")] = Decimal(0)
    cache_read: Annotated[Decimal | None, _says("Read from the prompt cache; pays `input` if absent.")] = None
    cache_write: Annotated[Decimal | None, _says("Written to it; pays `input` if absent.")] = None
    cache_write_1h: Annotated[Decimal | None, _says("Written to it for an hour.")] = None
    reasoning: Annotated[Decimal | None, _says("Reasoning; pays `output` if absent.")] = None
    input_audio: Annotated[Decimal | None, _says("Audio in the prompt.")] = None
    output_audio: Annotated[Decimal | None, _says("Audio in the answer.")] = None
    cache_audio_read: Annotated[Decimal | None, _says("Audio read from the prompt cache.")] = None
    input_image: Annotated[Decimal | None, _says("Images in the prompt.")] = None
    output_image: Annotated[Decimal | None, _says("Images in the answer.")] = None
    request: Annotated[Decimal, _says("Dollars per request.")] = Decimal(0)
    calls: Annotated[dict[str, Decimal], _says("Dollars per run of a hosted tool, by its name.")] = {}
    above: Annotated[tuple["TierRow", ...], _says("Price cards of longer prompts.")] = ()


class TierRow(Struct, frozen=True, forbid_unknown_fields=True):
    tokens: Annotated[Tokens, _says("The card counts for prompts of more tokens than this.")]
    price: Annotated[PriceRow, _says("The whole price card, with the same fields, but no `above`.")]


Modality = Literal["text", "image", "audio", "video", "document"]


class ModelRow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: Annotated[str | UnsetType, _says("Its name for people.")] = UNSET
    context: Annotated[Tokens | UnsetType, _says("Tokens that fit into prompt and answer together.")] = UNSET
    output_max: Annotated[Tokens | UnsetType, _says("Tokens an answer may have.")] = UNSET
    input: Annotated[tuple[Modality, ...] | UnsetType, _says("What it reads.")] = UNSET
    output: Annotated[tuple[Modality, ...] | UnsetType, _says("What it writes.")] = UNSET
    tools: Annotated[bool | UnsetType, _says("Whether it calls tools.")] = UNSET
    structured: Annotated[bool | UnsetType, _says("Whether it answers to a JSON Schema.")] = UNSET
    reasoning: Annotated[bool | UnsetType, _says("Whether it reasons.")] = UNSET
    thinking: Annotated[
        Literal["", "budget", "adaptive"] | UnsetType, _says("How an Anthropic model is asked to think.")
    ] = UNSET
    sampling: Annotated[bool | UnsetType, _says("Whether it takes temperature, top_p and top_k.")] = UNSET
    created: Annotated[Epoch | UnsetType, _says("Seconds since 1970.")] = UNSET
    price: Annotated[PriceRow | UnsetType, _says("What it costs.")] = UNSET


class ProviderRow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: Annotated[str | UnsetType, _says("Its name for people.")] = UNSET
    dialect: Annotated[str | UnsetType, _says("The API it speaks: openai_chat or anthropic.")] = UNSET
    base_url: Annotated[Text | UnsetType, _says("Its address. {NAME} is filled from the environment.")] = (
        UNSET
    )
    api_key: Annotated[Secret | UnsetType, _says("Its credential; `env` is asked where this is absent.")] = (
        UNSET
    )
    env: Annotated[
        tuple[str, ...] | UnsetType, _says("Environment variables that may hold the key, first found wins.")
    ] = UNSET
    auth: Annotated[
        Literal["bearer", "x-api-key", "api-key", "none"] | UnsetType, _says("How the key is sent.")
    ] = UNSET
    headers: Annotated[
        dict[str, Secret | None] | UnsetType,
        _says("Headers to send; null removes the catalog's. Values are secrets."),
    ] = UNSET
    path: Annotated[
        str | UnsetType, _says("Replaces the dialect's path; {model} is the model's name there.")
    ] = UNSET
    query: Annotated[Secret | UnsetType, _says("Query string to send; a secret, as some hold keys.")] = UNSET
    accent: Annotated[AccentRow | UnsetType, _says("How its spelling differs from its dialect.")] = UNSET
    issuer: Annotated[str | UnsetType, _says("Whose signed thoughts it accepts: anthropic, openai, ...")] = (
        UNSET
    )
    discover: Annotated[bool | UnsetType, _says("Whether to read the server's own list of models.")] = UNSET
    local: Annotated[bool | UnsetType, _says("Whether it needs no key.")] = UNSET
    models: Annotated[
        str | dict[str, ModelRow] | UnsetType,
        _says("What is known of its models, by id; or the name of the provider whose rows it shares."),
    ] = UNSET
    docs: Annotated[str | UnsetType, _says("Where its API is documented.")] = UNSET
    timeouts: Annotated[TimeoutsRow | UnsetType, _says("How long to wait for it.")] = UNSET


class AliasRow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    targets: Annotated[
        tuple[Text, ...],
        Meta(min_length=1, max_length=TARGETS_MAX),
        _says("provider/model, in the order they are tried."),
    ]
    context: Annotated[Tokens | UnsetType, _says("Overrides the targets' context.")] = UNSET
    output_max: Annotated[Tokens | UnsetType, _says("Overrides the targets' longest answer.")] = UNSET
    price: Annotated[PriceRow | UnsetType, _says("Overrides the targets' prices.")] = UNSET


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], _says("The least that is worth a line.")
    ] = "info"
    format: Annotated[Literal["text", "json"], _says("How lines on stderr look.")] = "text"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    server: Annotated[Server, _says("Where and how to listen.")] = Server()
    store: Annotated[Store, _says("Where keys and entries are kept.")] = Store()
    keys: Annotated[tuple[KeyRow, ...], _says("Who may call, beside the keys in the store.")] = ()
    providers: Annotated[
        dict[str, ProviderRow], _says("Who answers, by name: new ones, or changes to the catalog's.")
    ] = {}
    models: Annotated[
        dict[str, AliasRow], _says("Names of your own for models; provider/model works without.")
    ] = {}
    log: Annotated[Log, _says("What is written to stderr.")] = Log()
