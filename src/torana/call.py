"""What is known about one request, filled in as it moves along. What happens next is the gateway's business."""

from typing import Literal

from msgspec import Struct, field

from torana.dialects import Dialect, Envelope, Glance
from torana.errors import Error
from torana.ir import Loss, Usage
from torana.net import Exchange
from torana.records import AttemptEntry, CallEntry, Key, Snapshot, Target
from torana.wire.json import Object

Operation = Literal[
    "converse", "models", "model", "call", "healthy", "ready", "hello", "metrics", "openapi", "admin"
]


class Surface(Struct, frozen=True):
    """What a caller's path asks for: `dialect` is how the caller spells requests and hears errors. `id` is what
    stood in {id}. `public` answers without a key."""

    path: str
    methods: tuple[str, ...]
    operation: Operation
    dialect: str = "openai_chat"
    summary: str = ""
    public: bool = False
    id: str = ""


UNREAD = Envelope(Object(b"{}"), "")


class Call(Struct):
    """Times are seconds of the monotonic clock; 0.0: not yet."""

    id: str
    exchange: Exchange
    surface: Surface
    dialect: Dialect  # the caller's
    snapshot: Snapshot  # as it was when the call came: one call sees one configuration
    started: float
    entry: CallEntry  # what the ledger will say; written only when `recorded`
    recorded: bool = False  # somebody we know asked
    key: Key | None = None
    body: bytes = b""
    envelope: Envelope = UNREAD
    targets: tuple[Target, ...] = ()
    target: Target | None = None
    attempt: AttemptEntry | None = None
    attempts: int = 0
    spent: Usage | None = None  # what was consumed, once it was counted
    cost: int | None = None  # nano-dollars
    counted: bool = False
    losses: tuple[Loss, ...] = ()
    sent: float = 0.0  # the request left for the provider
    heard: float = 0.0  # the head of its answer came
    first: float = 0.0  # something a person would see came
    deltas: int = 0  # events relayed, the estimate of output tokens where the provider states none
    glance: Glance = field(default_factory=Glance)
    error: Error | None = None
    began: bool = False  # the head of a stream left
    answered: bool = False  # the answer reached its end
    relaying: bool = False  # the provider accepted: what happens from here was paid for
