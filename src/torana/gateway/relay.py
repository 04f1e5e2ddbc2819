"""From the provider's bytes to the caller's: one read, one parse, one render, one write.

Verbatim relays the bytes of a provider that speaks the caller's dialect and reads along for the ledger. Retold
parses one dialect and renders another. Both are called from the upstream socket's callback; neither awaits.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from torana import ir
from torana.call import Call
from torana.dialects import DIALECTS, Context, Glance, Undo
from torana.errors import Error
from torana.gateway import account
from torana.gateway.hiding import hide, secret_of
from torana.providers import prices
from torana.translate import Restorer

Clock = Callable[[], float]
Begin = Callable[[Call], None]

EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")  # a blank line, in each of its spellings


class Tale(Protocol):
    """A stream on its way to the caller."""

    def sink(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def fail(self, error: Error) -> None: ...


class Verbatim:
    """The provider's own bytes, but for a usage chunk the caller did not ask for.

    An unfinished event waits for its end: no client can read half of one, and an error could not follow it in
    band. The watch bounds how long it may get.
    """

    __slots__ = ("_begin", "_call", "_clock", "_held", "_secret", "_watch")

    def __init__(self, call: Call, begin: Begin, clock: Clock, *, hide_usage: bool) -> None:
        self._call = call
        self._begin = begin
        self._clock = clock
        self._secret = _secret(call)
        self._watch = call.dialect.Watch(hide_usage=hide_usage)
        self._held = bytearray()
        call.glance = self._watch.glance

    def sink(self, data: bytes) -> None:
        call = self._call
        out = self._watch.feed(data)
        call.deltas += data.count(b"\n\n") or data.count(b"\n\r\n")
        if not call.first and self._watch.visible:
            call.first = self._clock()
        if out[-2:] == b"\n\n" and not self._held:  # the common case
            self._write(out)
        elif out:
            self._hold(out)

    def close(self) -> None:
        rest = self._watch.close()
        self._write(bytes(self._held) + rest)

    def fail(self, error: Error) -> None:
        self._write(self._watch.fail(error))

    def _hold(self, out: bytes) -> None:
        held = self._held
        unseen = max(0, len(held) - 2)  # the longest mark less one byte
        held += out
        end = max([at + len(mark) for mark in EVENT_ENDS if (at := held.rfind(mark, unseen)) >= 0], default=0)
        self._write(bytes(held[:end]))
        del held[:end]

    def _write(self, out: bytes) -> None:
        if out:
            exchange = self._call.exchange
            if not exchange.started:
                self._begin(self._call)
            exchange.write(hide(out, self._secret))


class Retold:
    """One dialect's stream as another's, or as its own where the caller asked for a price in it."""

    __slots__ = ("_begin", "_call", "_clock", "_parser", "_priced", "_renderer", "_restorer", "_secret")

    def __init__(
        self, call: Call, begin: Begin, clock: Clock, source: str, context: Context, undo: Undo | None
    ) -> None:
        self._call = call
        self._begin = begin
        self._clock = clock
        self._secret = _secret(call)
        self._priced = account.wants_price(call)
        self._parser = DIALECTS[source].Parser()
        self._renderer = call.dialect.Renderer(context)
        self._restorer = Restorer(undo)

    def sink(self, data: bytes) -> None:
        self._tell(self._parser.feed(data))

    def close(self) -> None:
        self._tell(self._parser.close())

    def fail(self, error: Error) -> None:
        self._write(self._renderer.fail(error))

    def _tell(self, events: list[ir.Event]) -> None:
        if not events:
            return
        call = self._call
        for event in events:
            kind = type(event)
            if kind is ir.Delta:
                call.deltas += 1
                if not call.first:
                    call.first = self._clock()
            elif kind is not ir.Open and kind is not ir.Close:
                observe(call.glance, event)
        if self._priced:
            events = [self._with_price(event) if type(event) is ir.Spent else event for event in events]
        self._write(self._renderer.render(self._restorer.feed(events)))

    def _with_price(self, event: ir.Spent) -> ir.Event:
        cost = account.price_of(self._call, event.usage)
        return event if cost is None else ir.Spent(replace(event.usage, cost=prices.decimal_usd(cost)))

    def _write(self, out: bytes) -> None:
        if out:
            exchange = self._call.exchange
            if not exchange.started:
                self._begin(self._call)
            exchange.write(hide(out, self._secret))


def _secret(call: Call) -> bytes:
    assert call.target is not None
    return secret_of(call.target.provider)


def observe(glance: Glance, event: ir.Event) -> None:
    """Note what the ledger needs of an event."""
    match event:
        case ir.Start():
            glance.id, glance.model = event.id, event.model
        case ir.Spent(usage):
            glance.usage = usage
        case ir.Finished(_, finish):
            glance.finish = finish
        case ir.End(error):
            glance.error = error
        case _:
            pass
