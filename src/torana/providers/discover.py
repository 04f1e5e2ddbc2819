"""The model lists that servers publish about themselves, read into rows.

OpenAI's list has ids alone; the servers worth asking say more, each in its own words. What is read here stands in
recorded lists or in the documentation of vLLM, llama.cpp, Ollama, LM Studio, OpenRouter, Together, Groq, Mistral
and Anthropic. A field of another type than expected is left out: a list is news, not a contract.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from torana.errors import UpstreamError, UpstreamInvalid
from torana.records import Model, Price, Provider
from torana.wire import json

MODELS_MAX = 5_000  # OpenRouter, the longest list known, has some 900
ID_CHARS_MAX = 256  # llama.cpp names a model by the path of its file; the longest recorded id has 168
TOKENS_MAX = 10**9
PRICE_USD_MAX = 10  # per token: more is a price per million in the wrong field

Fetch = Callable[[Provider, str], Awaitable[tuple[int, bytes]]]  # GET base_url + path -> status, body
PATH = {"openai_chat": "/models", "anthropic": "/v1/models?limit=1000"}
SOURCE = "the provider's own list"

_any = msgspec.json.Decoder(Any)  # {"data": [...]} | {"models": [...]} | [...]

CONTEXT = (  # the first that is a number wins
    ("max_model_len",),  # vLLM
    ("meta", "n_ctx"),  # llama.cpp: what the server was started with
    ("meta", "n_ctx_train"),  # llama.cpp: what the model can
    ("context_length",),  # OpenRouter, Together, Baseten, Cohere
    ("context_window",),  # Groq
    ("max_context_length",),  # Mistral, LM Studio
    ("max_input_tokens",),  # Anthropic
    ("inputTokenLimit",),  # Gemini
)
OUTPUT = (
    ("top_provider", "max_completion_tokens"),  # OpenRouter
    ("max_completion_tokens",),  # Groq, Baseten
    ("max_output_tokens",),
    ("outputTokenLimit",),  # Gemini
)
READS = (("architecture", "input_modalities"), ("input_modalities",), ("supported_input_modalities",))
WRITES = (("architecture", "output_modalities"), ("output_modalities",), ("supported_output_modalities",))
ABILITIES = (("supported_parameters",), ("supported_features",))  # OpenRouter; Baseten
MODALITIES = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "video": "video",
    "file": "document",
    "pdf": "document",
}


async def discover(provider: Provider, fetch: Fetch) -> list[Model]:
    """The models a server lists now. Raises UpstreamError if it refuses, UpstreamInvalid if its list is none."""
    path = PATH.get(provider.dialect, "/models")
    status, body = await fetch(provider, path)
    if status != 200:
        raise UpstreamError(f"{provider.name} answered GET {path} with {status}", status=502)
    return parse(provider, body)


def parse(provider: Provider, body: bytes) -> list[Model]:
    """The rows of a list, in its order; entries without a usable id are left out, repeated ids but the first."""
    entries = _entries(json.read(_any, body, UpstreamInvalid))
    if entries is None:
        raise UpstreamInvalid(f"the model list of {provider.name} is neither a list nor holds one")
    if len(entries) > MODELS_MAX:
        raise UpstreamInvalid(
            f"the model list of {provider.name} has {len(entries)} entries, the limit is {MODELS_MAX}"
        )
    found: dict[str, Model] = {}
    for entry in entries:
        row = _row(provider, entry)
        if row is not None and row.id not in found:
            found[row.id] = row
    return list(found.values())


def _entries(document: Any) -> list[Any] | None:
    """A bare list, `data` (OpenAI and those like it), or `models` (Ollama's /api/tags, Cohere, Gemini)."""
    if isinstance(document, dict):
        document = document.get("data", document.get("models"))
    return document if isinstance(document, list) else None


def _row(provider: Provider, entry: Any) -> Model | None:
    """`entry` is an object with an `id` or a `name`, or a bare name."""
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, dict):
        return None
    id = entry.get("id", entry.get("name"))
    if not isinstance(id, str) or not 0 < len(id) <= ID_CHARS_MAX or not id.isprintable():
        return None
    title = next((entry[key] for key in ("display_name", "name") if isinstance(entry.get(key), str)), "")
    output_max = _tokens(entry, OUTPUT)
    if output_max is None and provider.dialect == "anthropic":
        output_max = _tokens(entry, (("max_tokens",),))
    price = _price(entry.get("pricing"))
    tools, structured, reasoning = _abilities(entry)
    return Model(
        id=id,
        provider=provider.name,
        title="" if title == id else title,
        context=_tokens(entry, CONTEXT),
        output_max=output_max,
        input=_modalities(entry, READS),
        output=_modalities(entry, WRITES),
        created=_created(entry),
        price=price,
        priced=SOURCE if price else "",
        tools=tools,
        structured=structured,
        reasoning=reasoning,
    )


def _values(entry: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> Iterator[Any]:
    for path in paths:
        value: Any = entry
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        yield value


def _tokens(entry: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> int | None:
    for value in _values(entry, paths):
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= TOKENS_MAX:
            return value
    return None


def _modalities(entry: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    for value in _values(entry, paths):
        if isinstance(value, list):
            return tuple(
                sorted({MODALITIES[name] for name in value if isinstance(name, str) and name in MODALITIES})
            )
    return ()


def _abilities(entry: dict[str, Any]) -> tuple[bool | None, bool | None, bool | None]:
    """Tools, structured answers, reasoning. A list of abilities is whole: what it leaves out, the model lacks."""
    for names in _values(entry, ABILITIES):
        if isinstance(names, list):
            return "tools" in names, "structured_outputs" in names, "reasoning" in names
    flags = entry.get("capabilities")  # Mistral: {"function_calling": true, ...}
    if not isinstance(flags, dict):
        return None, None, None
    return _flag(flags.get("function_calling")), None, _flag(flags.get("reasoning"))


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _created(entry: dict[str, Any]) -> int:
    created = entry.get("created")
    if isinstance(created, int) and not isinstance(created, bool) and 0 <= created < 2**53:
        return created
    try:
        return max(0, int(datetime.fromisoformat(entry["created_at"]).timestamp()))
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


PER_TOKEN = {  # OpenRouter and Baseten: dollars per token, as decimal text
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning",
}
PER_MILLION = {
    "input": "input",
    "output": "output",
    "cached_input": "cache_read",
}  # Together: dollars per million
PICO_PER_USD = 10**12


def _price(pricing: Any) -> Price | None:
    """None unless both directions have a price: half a card would look like a cheap model."""
    if not isinstance(pricing, dict) or pricing.get("currency", "USD") != "USD":
        return None
    fields, unit = (PER_TOKEN, 1) if "prompt" in pricing else (PER_MILLION, 1_000_000)
    card = {}
    for theirs, ours in fields.items():
        pico = _pico(pricing.get(theirs), unit)
        if pico is not None and (pico or ours in ("input", "output")):
            card[ours] = pico
    card["request"] = _pico(pricing.get("request"), 1000) or 0  # nano-dollars
    return msgspec.convert(card, Price) if {"input", "output"} <= card.keys() else None


def _pico(value: Any, unit: int) -> int | None:
    """Pico-dollars of a price in dollars per `unit`. OpenRouter writes -1 where the price varies."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value)[:40])
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= PRICE_USD_MAX * unit:
        return None
    return int(amount * PICO_PER_USD / unit + Decimal("0.5"))
