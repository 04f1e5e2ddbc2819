"""Requests: the conversation so far and the settings of the next turn."""

from typing import Literal

from msgspec import Raw, Struct

from torana.ir.parts import Extra, Part

Role = Literal["system", "developer", "user", "assistant"]


class Message(Struct):
    """A tool's result is a part of a user message; there is no tool role. `system` and `developer` may stand
    anywhere and keep their place."""

    role: Role
    parts: list[Part]
    name: str = ""
    extra: Extra = None


class Tool(Struct, frozen=True, gc=False):
    """A tool the caller runs. `schema` is JSON Schema, empty when the caller gave none."""

    name: str
    description: str = ""
    schema: Raw = Raw(b"")
    strict: bool | None = None
    kind: Literal["function", "custom"] = "function"
    grammar: Raw = Raw(b"")  # a custom tool's format object, as sent
    namespace: str = ""
    deferred: bool = False
    cache: str = ""
    extra: Extra = None


class HostedTool(Struct, frozen=True, gc=False):
    """A tool the provider runs. `type` as spelled; `name` from the closed table in `dialects`, "" if not in it."""

    type: str
    name: str = ""
    config: Raw = Raw(b"")  # the whole tool object as sent
    cache: str = ""


class ToolChoice(Struct, frozen=True, gc=False):
    """required with one name is a forced tool; with several, one of them."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    parallel: bool | None = None
    extra: Extra = None


class Format(Struct, frozen=True, gc=False):
    kind: Literal["text", "json", "schema"]
    schema: Raw = Raw(b"")
    name: str = ""
    description: str = ""
    strict: bool | None = None
    extra: Extra = None


class Reasoning(Struct, frozen=True, gc=False):
    enabled: bool | None = None
    effort: str = ""
    budget: int | None = None  # tokens
    show: str = ""  # "" unsaid | "none" | "auto" | "concise" | "detailed"
    extra: Extra = None


class Sampling(Struct, frozen=True, gc=False):
    temperature: float | int | None = None
    top_p: float | int | None = None
    top_k: float | int | None = None
    min_p: float | int | None = None
    seed: float | int | None = None
    frequency_penalty: float | int | None = None
    presence_penalty: float | int | None = None
    repetition_penalty: float | int | None = None
    stop: tuple[str, ...] = ()
    logit_bias: Raw = Raw(b"")


class Speech(Struct, frozen=True, gc=False):
    voice: str = ""
    format: str = ""


class Request(Struct, kw_only=True):
    """`dialect` says whose `extra` is. None and "" mean unsaid. `logprobs`: None off, 0 the chosen token only,
    k alternatives beside it."""

    dialect: str
    model: str
    messages: list[Message]
    tools: list[Tool | HostedTool] | None = None
    choice: ToolChoice | None = None
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    n: int | None = None
    logprobs: int | None = None
    format: Format | None = None
    reasoning: Reasoning | None = None
    verbosity: str = ""
    modalities: tuple[str, ...] = ()
    speech: Speech | None = None
    stream: bool = False
    want_usage: bool = False
    tier: str = ""
    user: str = ""
    metadata: Raw = Raw(b"")
    store: bool | None = None
    cache: str = ""
    cache_key: str = ""
    previous: str = ""
    extra: Extra = None


class Loss(Struct, frozen=True, gc=False):
    """A parameter or detail the target could not carry: `where` is a path in the caller's own spelling."""

    where: str
    how: Literal["dropped", "rewritten"]
    why: str
