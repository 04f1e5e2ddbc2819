"""The JSON of the small answers: model lists in two shapes, a call's account, what answers here."""

from datetime import UTC, datetime
from typing import Any

from torana import __version__
from torana.errors import InvalidRequest, ModelNotFound
from torana.policy.keys import query_fields
from torana.policy.routes import Routes
from torana.providers import prices
from torana.records import AttemptEntry, CallEntry, Model, Snapshot

Object = dict[str, Any]  # JSON of ours, shaped as the docstrings say

LIST_MAX = 1000  # Anthropic's own limit of a page


def hello() -> Object:
    return {"name": "torana", "version": __version__, "api": "/openapi.json"}


# ---------------------------------------------------------------- models


def listed(snapshot: Snapshot) -> dict[str, tuple[str, Model]]:
    """id -> (provider, row) of every model a caller may name: configured names first, then each provider's."""
    found: dict[str, tuple[str, Model]] = {}
    for alias, targets in snapshot.aliases.items():
        provider, _, id = targets[0].partition("/")
        row = snapshot.models.get(provider, {}).get(id)
        found[alias] = (provider, row or Model(id=id, provider=provider))
    for provider in snapshot.providers:
        for id, row in snapshot.models.get(provider, {}).items():
            found.setdefault(id, (provider, row))
    return found


def openai_models(snapshot: Snapshot) -> Object:
    """{"object":"list","data":[{"id","object","created","owned_by"}]}"""
    rows = listed(snapshot).items()
    return {"object": "list", "data": [_openai(id, provider, row) for id, (provider, row) in rows]}


def _openai(id: str, provider: str, row: Model) -> Object:
    return {"id": id, "object": "model", "created": row.created, "owned_by": provider}


def anthropic_models(snapshot: Snapshot, query: str) -> Object:
    """{"data":[...],"has_more","first_id","last_id"}; `limit`, `after_id` and `before_id` page through it."""
    asked = {name: values[-1] for name, values in query_fields(query).items()}
    rows = [_anthropic(id, row) for id, (_, row) in listed(snapshot).items()]
    ids = [row["id"] for row in rows]
    start, end = 0, len(rows)
    if (after := asked.get("after_id")) in ids:
        start = ids.index(after) + 1
    if (before := asked.get("before_id")) in ids:
        end = ids.index(before)
    page = rows[start:end][: _limit(asked.get("limit", "20"))]
    return {
        "data": page,
        "has_more": start + len(page) < end,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= LIST_MAX:
        raise InvalidRequest(f"limit must be a number from 1 to {LIST_MAX}", param="limit")
    return int(text)


def _anthropic(id: str, row: Model) -> Object:
    created = datetime.fromtimestamp(row.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": id, "display_name": row.title or id, "created_at": created}


def model(snapshot: Snapshot, id: str, *, anthropic: bool) -> Object:
    """One model, found as a call would find it. Raises ModelNotFound with the closest names."""
    found = listed(snapshot).get(id)
    if found is None:
        target = Routes(snapshot).find(id).targets[0]
        if target.row is None:
            raise ModelNotFound(f"model {id!r} is not listed. List: GET /v1/models", param="model")
        found = (target.provider.name, target.row)
    provider, row = found
    return _anthropic(id, row) if anthropic else _openai(id, provider, row) | _known(row)


def _known(row: Model) -> Object:
    """What we know of a model, beside OpenAI's four fields; unknown is left out. Prices: USD per million."""
    known: Object = {
        "context_length": row.context,
        "max_output_tokens": row.output_max,
        "input_modalities": row.input or None,
        "output_modalities": row.output or None,
    }
    if row.price is not None:  # pico-dollars a token are nano-dollars a thousand
        known["pricing"] = {
            "prompt": prices.decimal_usd(row.price.input * 1000),
            "completion": prices.decimal_usd(row.price.output * 1000),
            "source": row.priced,
        }
    return {name: value for name, value in known.items() if value is not None}


# ---------------------------------------------------------------- calls


def call(entry: CallEntry, attempts: list[AttemptEntry]) -> Object:
    """The account of one call: state, tokens by class, cost in USD as decimal text, times in milliseconds."""
    tokens = entry.tokens
    return {
        "id": entry.id,
        "object": "call",
        "created": entry.started // 1_000_000,
        "state": entry.state,
        "status": entry.status,
        "error": entry.error or None,
        "model": entry.asked,
        "stream": entry.stream,
        "target": {"provider": entry.provider, "model": entry.model} if entry.provider else None,
        "tokens": {name: getattr(tokens, name) for name in tokens.__struct_fields__},
        "cost": None if entry.cost is None else prices.decimal_usd(entry.cost),
        "price_source": entry.priced or None,
        "latency_ms": entry.latency / 1000,
        "first_token_ms": None if entry.first < 0 else entry.first / 1000,
        "overhead_ms": entry.overhead / 1000,
        "user": entry.user or None,
        "dropped": entry.dropped.split(", ") if entry.dropped else [],
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def _attempt(attempt: AttemptEntry) -> Object:
    return {
        "number": attempt.number,
        "provider": attempt.provider,
        "model": attempt.model,
        "state": attempt.state,
        "status": attempt.status or None,
        "error": attempt.error or None,
        "upstream_id": attempt.upstream_id or None,
        "latency_ms": attempt.latency / 1000,
    }
