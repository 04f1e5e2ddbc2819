"""What a call consumed and what it cost, read off the call when it is over.

Where a provider stated no usage it is estimated and marked as an estimate: four bytes of request to a token in,
one relayed event (or four bytes of a whole answer) to a token out. A stream that was broken off has stated its
beginning at most, and a request without an answer may have been worked on: neither is free.
"""

from msgspec.structs import replace

from torana.call import Call
from torana.errors import Error, ShuttingDown, UpstreamDisconnected, UpstreamTimeout
from torana.gateway.hiding import hide_text
from torana.ir import Usage
from torana.providers import prices
from torana.records import CallEntry, State, Tokens

BYTES_PER_TOKEN = 4  # OpenAI's rule of thumb for English; JSON and code run lower, other scripts higher
ERROR_CHARS_MAX = 128  # of a provider's own code; the longest recorded has 43
DROPPED_CHARS_MAX = 16 * 1024  # names of what was left out, which a caller can invent

_UNKNOWN = (UpstreamDisconnected, UpstreamTimeout, ShuttingDown)  # after these nobody knows what was done


def usage(call: Call) -> Usage | None:
    """Stated usage, an estimate where the provider worked and stated none, None where nothing was consumed."""
    stated = call.glance.usage
    if stated is not None:
        return stated if call.glance.finish or not call.began else _continued(stated, call.deltas)
    if not call.relaying and not _is_unknown(call):
        return None
    return Usage(input=-(-len(call.body) // BYTES_PER_TOKEN), output=call.deltas, estimated=True)


def _continued(stated: Usage, deltas: int) -> Usage:
    """A broken stream's: Anthropic states one token out at the beginning, and the sum at the end alone."""
    if deltas <= stated.completion:
        return stated
    return replace(stated, output=deltas - stated.reasoning, total=None, estimated=True)


def _is_unknown(call: Call) -> bool:
    if not call.sent or call.heard:
        return False
    return call.exchange.left or isinstance(call.error, _UNKNOWN)


def count(call: Call) -> None:
    """What was spent and what it cost, once; the cost stays None where the model has no price."""
    if call.counted:
        return
    call.counted = True
    spent = call.spent = usage(call)
    if spent is not None:
        call.cost = price_of(call, spent)


def price_of(call: Call, spent: Usage) -> int | None:
    """Nano-dollars, or None where the model has no price."""
    row = call.target.row if call.target else None
    return None if row is None or row.price is None else prices.cost(row.price, spent)


def wants_price(call: Call) -> bool:
    """Whether the caller asked for `usage.cost` in its stream: the head of a stream leaves before its cost is known."""
    return (
        call.surface.dialect == "openai_chat"
        and call.exchange.headers.get(b"torana-usage-cost", b"").lower() == b"true"
    )


def settle(call: Call, now: float) -> CallEntry:
    """The finished entry of a call."""
    entry = call.entry
    error = call.error or call.glance.error
    entry.state = _state(call, failed=error is not None)
    entry.error = "" if error is None else _code(call, error)
    entry.latency = int((now - call.started) * 1e6)
    if call.first:
        entry.first = int((call.first - call.started) * 1e6)
    if call.sent:
        waited = (call.heard or now) - call.sent
        entry.overhead = max(0, int(((call.heard or now) - call.started - waited) * 1e6))
    if call.target is not None:
        entry.provider, entry.model = call.target.provider.name, call.target.model
    entry.attempts = call.attempts
    count(call)
    if call.spent is not None:
        entry.tokens = tokens(call.spent)
        entry.cost = call.cost
        if call.target is not None and call.target.row is not None:
            entry.priced = call.target.row.priced
    if call.losses:
        entry.dropped = _dropped(call)
    return entry


def _code(call: Call, error: Error) -> str:
    code = error.native_code or error.code
    return (code if call.target is None else hide_text(code, call.target.provider))[:ERROR_CHARS_MAX]


def _state(call: Call, *, failed: bool) -> State:
    if call.exchange.left and not call.answered:
        return "cancelled"
    if not failed:
        return "ok"
    return "incomplete" if call.began else "error"


def _dropped(call: Call) -> str:
    names = ", ".join(dict.fromkeys([loss.where for loss in call.losses]))
    if len(names) <= DROPPED_CHARS_MAX:
        return names
    return names[:DROPPED_CHARS_MAX].rpartition(", ")[0]


def tokens(usage: Usage) -> Tokens:
    return Tokens(
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.tool_input,
        usage.output,
        usage.reasoning,
        usage.other,
        usage.estimated,
    )
