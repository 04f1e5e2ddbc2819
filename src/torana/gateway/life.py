"""One call from the first byte to the last entry. It reads top to bottom.

    gates admit -> body read -> top level read -> routed -> intent written -> sent -> relayed or retold ->
    entry settled -> gates settled, in reverse

Whatever happens on the way, the caller hears it in the caller's dialect and the ledger has an entry that says so.
"""

import logging
from asyncio import CancelledError, timeout
from collections.abc import Callable, Sequence

from msgspec import MsgspecError, Struct

from torana import ir
from torana.call import Call, Surface
from torana.dialects import DIALECTS, Context, Edits, Glance, Head, Rendered
from torana.errors import (
    Error,
    InternalError,
    Overloaded,
    ShuttingDown,
    UnsupportedMediaType,
    UpstreamDisconnected,
    UpstreamInvalid,
    UpstreamTimeout,
)
from torana.gateway import account, heads
from torana.gateway.hiding import hide, hide_error, hide_text, secret_of
from torana.gateway.reach import Reach, crossing
from torana.gateway.relay import Retold, Tale, Verbatim
from torana.ledger import Ledger, new_call_id
from torana.net import Exchange, Reply
from torana.policy import Gate, Live
from torana.policy.routes import MODEL_CHARS_MAX, Routes
from torana.records import AttemptEntry, CallEntry, Target
from torana.surfaces import BODY_BYTES_MAX
from torana.telemetry.metrics import Counters
from torana.translate import Restorer
from torana.wire import json

log = logging.getLogger("torana.gateway")

_ENDINGS = (UpstreamDisconnected, UpstreamTimeout, ShuttingDown)  # of a stream, whatever it had said by then

ANSWER_BYTES_MAX = 64 * 1024 * 1024  # a whole answer with inline images; fault matrix U17
ERROR_BYTES_MAX = 1024 * 1024  # an error longer than this is not an error message
METADATA_BYTES_MAX = 16 * 1024  # OpenAI allows 16 pairs of 64 and 512 characters: about 9 KB
USER_CHARS_MAX = 1024  # OpenAI allows 64 and Anthropic 256; Claude Code sends JSON of about 200
STRICT_S = 5.0  # for an intent to be durable: longer than a busy disk takes, shorter than callers wait


class Parts(Struct, frozen=True):
    """What the gateway is put together from."""

    live: Live
    reach: Reach
    ledger: Ledger
    counters: Counters
    gates: Sequence[Gate]
    clock: Callable[[], float]  # seconds, monotonic
    now: Callable[[], int]  # microseconds since 1970
    strict: bool = False  # the intent is durable before the provider is asked


class Gateway:
    """Answers calls. Holds nothing of any call between them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._routes = Routes(parts.live.snapshot)

    async def converse(self, exchange: Exchange, surface: Surface) -> None:
        """The whole life of one conversation call."""
        parts = self._parts
        now = parts.now()
        id = new_call_id(now)  # its time is the time of the entry
        entry = CallEntry(id, "", surface.dialect, "", False, now)
        call = Call(
            id, exchange, surface, DIALECTS[surface.dialect], parts.live.snapshot, self._clock(), entry
        )
        admitted: list[Gate] = []
        parts.counters.active += 1
        try:
            for gate in parts.gates:
                gate.admit(call)
                admitted.append(gate)
            await self._receive(call)
            await self._answer(call)
            call.answered = True
        except Error as error:
            self._refuse(call, error)
        except CancelledError:
            if not (exchange.left or call.answered or call.error):
                self._refuse(call, ShuttingDown("the gateway is shutting down; this call was broken off"))
            raise
        except Exception:
            log.exception("call %s failed inside the gateway", call.id)
            self._refuse(call, InternalError("the gateway failed on this call; its log has the reason"))
        finally:
            parts.counters.active -= 1
            for gate in reversed(admitted):
                gate.settle(call)
            self._settle(call)

    # ---------------------------------------------------------------- before

    async def _receive(self, call: Call) -> None:
        """Read the body and its top level, find where it goes, and open its entry."""
        exchange, ledger = call.exchange, self._parts.ledger
        if ledger.full:
            raise Overloaded(
                "the ledger cannot take more entries: its database is not keeping up", retry_after_s=1
            )
        _accept(exchange)
        assert call.key is not None, "the first gate says whose call it is"
        entry = call.entry
        entry.key_id, call.recorded = call.key.id, True
        call.body = await exchange.read(BODY_BYTES_MAX)
        envelope = call.envelope = call.dialect.read_envelope(call.body, _head(exchange))
        entry.asked, entry.stream = envelope.model[:MODEL_CHARS_MAX], envelope.stream
        entry.user = envelope.user[:USER_CHARS_MAX]
        if envelope.metadata:
            metadata = bytes(envelope.metadata)  # a part of it would be no JSON
            entry.metadata = (
                metadata.decode("utf-8", "replace") if len(metadata) <= METADATA_BYTES_MAX else ""
            )
        if self._routes.snapshot is not call.snapshot:
            self._routes = Routes(call.snapshot)
        route = self._routes.find(envelope.model)
        call.targets = route.targets
        call.losses = tuple([ir.Loss(where, "dropped", "not acted on yet") for where in route.unmet])

    # ---------------------------------------------------------------- there and back

    async def _answer(self, call: Call) -> None:
        """Send the call to its target, and the target's answer to the caller."""
        target = call.target = call.targets[0]
        same = target.provider.dialect == call.surface.dialect
        rendered = self._splice(call, target) if same else self._render(call, target)
        call.losses += rendered.losses
        reply = await self._send(call, target, rendered)
        try:
            if reply.status != 200:
                await self._pass_error(target, reply, same)
            elif call.envelope.stream and _is_event_stream(reply):
                await self._stream(call, reply, self._tale(call, target, rendered, same))
            else:
                body = await reply.read(ANSWER_BYTES_MAX)
                self._whole(call, target, rendered, body, same and not call.envelope.stream)
        finally:
            reply.close()

    def _splice(self, call: Call, target: Target) -> Rendered:
        """The caller's bytes with the fields we own edited."""
        envelope, accent = call.envelope, target.provider.accent
        edits = Edits(
            model="" if envelope.model == target.model else target.model,
            want_usage=envelope.stream and not envelope.want_usage and accent.stream_usage,
            drop=accent.drop,
            rename=accent.rename,
        )
        losses = tuple(
            [
                ir.Loss(name, "dropped", "the provider refuses it")
                for name in accent.drop
                if name in envelope.object.fields
            ]
        )
        path = call.dialect.path(target.model, stream=envelope.stream)
        return Rendered(
            call.dialect.splice(envelope, edits), path, crossing(call, call.surface.dialect), losses
        )

    def _render(self, call: Call, target: Target) -> Rendered:
        """The caller's request in the target's dialect."""
        request = call.dialect.parse_request(call.body, _head(call.exchange), call.envelope)
        request.model = target.model
        return DIALECTS[target.provider.dialect].render_request(request, target.traits)

    async def _send(self, call: Call, target: Target, rendered: Rendered) -> Reply:
        """One attempt, with its intent written before."""
        parts = self._parts
        call.attempts += 1
        entry = call.entry
        entry.provider, entry.model, entry.attempts = target.provider.name, target.model, call.attempts
        call.attempt = AttemptEntry(call.id, call.attempts, target.provider.name, target.model, parts.now())
        parts.ledger.begin(entry, call.attempt)
        if parts.strict:
            await self._make_durable()
        call.sent = self._clock()
        reply = await parts.reach.send(
            target, rendered.path, rendered.headers, rendered.body, stream=call.envelope.stream
        )
        call.heard = self._clock()
        call.attempt.status = reply.status
        call.attempt.upstream_id = hide_text(heads.upstream_id(reply.headers), target.provider)
        call.relaying = reply.status == 200
        return reply

    async def _make_durable(self) -> None:
        try:
            async with timeout(STRICT_S):
                await self._parts.ledger.flush()
        except TimeoutError:
            raise Overloaded(
                "the ledger's database does not take entries, and durability is strict: nothing was sent",
                retry_after_s=1,
            ) from None

    async def _pass_error(self, target: Target, reply: Reply, same: bool) -> None:
        """The provider refused: its status, type, message, param and code, in the caller's dialect. A status that
        is neither an answer nor a refusal (202, 302) would tell the caller that all is well."""
        body = await reply.read(ERROR_BYTES_MAX)
        error = DIALECTS[target.provider.dialect].parse_error(reply.status, body)
        if not 400 <= error.status <= 599:
            raise UpstreamInvalid(f"the provider answered with status {reply.status}, which is no answer")
        error.retry_after_s = error.retry_after_s or heads.retry_after_s(reply.headers)
        error.retry = heads.should_retry(reply.headers)
        if same and heads.faithful(reply.status, body, target.provider):
            error.body = body
        raise heads.redact(error, target.provider)

    def _tale(self, call: Call, target: Target, rendered: Rendered, same: bool) -> Tale:
        if same and not account.wants_price(call):
            return Verbatim(call, self._begin, self._clock, hide_usage=not call.envelope.want_usage)
        context = self._context(call)
        return Retold(call, self._begin, self._clock, target.provider.dialect, context, rendered.undo)

    async def _stream(self, call: Call, reply: Reply, tale: Tale) -> None:
        """Relay until the end. After the first byte the only way left to fail is in band."""
        exchange = call.exchange
        exchange.source = reply
        try:
            await reply.relay(tale.sink)
            tale.close()
        except Error as error:
            if not exchange.started:
                raise
            _break_off(call, tale, error)
        except CancelledError:
            if exchange.started:
                _break_off(
                    call, tale, ShuttingDown("the gateway is shutting down; this answer is not complete")
                )
                exchange.finish()
            raise
        finally:
            exchange.source = None
        exchange.finish()

    def _whole(self, call: Call, target: Target, rendered: Rendered, body: bytes, same: bool) -> None:
        """A whole answer: glanced at and passed on, or folded and told anew (a stream, if one was asked for)."""
        exchange, upstream = call.exchange, DIALECTS[target.provider.dialect]
        call.deltas = len(body) // account.BYTES_PER_TOKEN
        if same:
            call.glance = upstream.glance(body)
            if call.glance.error is not None:
                raise call.glance.error
            if call.glance.usage is None and not call.glance.id:
                _check_object(body)
            call.entry.status = 200
            exchange.answer(200, heads.answer(call, self._clock()), hide(body, secret_of(target.provider)))
            return
        whole = upstream.read_response(body)
        call.glance = Glance(whole.id, whole.model, _finish(whole), whole.usage, whole.error)
        if whole.error is not None:
            raise whole.error
        if rendered.undo is not None:
            whole = ir.fold(Restorer(rendered.undo).feed(ir.unfold(whole)))
        if call.envelope.stream:
            self._begin(call)
            told = call.dialect.Renderer(self._context(call)).render(ir.unfold(whole))
            exchange.write(hide(told, secret_of(target.provider)))
            exchange.finish()
            return
        out = call.dialect.render_response(whole, self._context(call))
        call.losses += out.losses
        call.entry.status = 200
        exchange.answer(200, heads.answer(call, self._clock()), hide(out.body, secret_of(target.provider)))

    def _context(self, call: Call) -> Context:
        envelope = call.envelope
        return Context(
            id=call.id,
            created=self._parts.now() // 1_000_000,
            model=envelope.model,
            want_usage=envelope.want_usage,
        )

    def _begin(self, call: Call) -> None:
        """The status line of a stream, written with its first bytes so that an early failure keeps its status."""
        call.began, call.entry.status = True, 200
        call.exchange.start(200, heads.stream(call, self._clock()))

    # ---------------------------------------------------------------- after

    def _refuse(self, call: Call, error: Error) -> None:
        call.error = error
        if not call.recorded:
            self._parts.counters.refuse(error.native_code or error.code)
        if call.exchange.started:
            call.exchange.abort()
            return
        if call.target is not None:
            hide_error(heads.redact(error, call.target.provider), call.target.provider)
        heads.refuse(call, error)

    def _settle(self, call: Call) -> None:
        """Close the entry. Of a caller we do not know there is none."""
        if not call.recorded:
            return
        attempt, now = call.attempt, self._clock()
        entry = account.settle(call, now)
        if attempt is not None:
            attempt.state, attempt.error = entry.state, entry.error
            attempt.latency = int((now - call.sent) * 1e6) if call.sent else 0
            attempt.first = int((call.first - call.sent) * 1e6) if call.first else -1
        self._parts.ledger.settle(entry, attempt)
        self._parts.counters.add(entry)


def _accept(exchange: Exchange) -> None:
    """Bodies are JSON in plain bytes; a client that says otherwise is told what to send."""
    headers = exchange.headers
    if headers.get(b"content-encoding", b"identity") not in (b"identity", b""):
        raise UnsupportedMediaType("send the body without content-encoding")
    kind = headers.get(b"content-type", b"application/json")
    if b"json" not in kind and not kind.startswith(b"text/plain"):
        raise UnsupportedMediaType("send the body as application/json", param="content-type")


def _break_off(call: Call, tale: Tale, error: Error) -> None:
    """The last word of a stream that lost its provider, its caller or us; none where the story had its end before,
    or where the provider itself said in band what went wrong."""
    if isinstance(error, _ENDINGS) and _is_whole(tale):
        call.answered = True
    elif call.glance.error is None and not call.exchange.left:
        call.error = error
        tale.fail(error)


def _is_whole(tale: Tale) -> bool:
    try:
        tale.close()
    except Error:
        return False
    return True


def _check_object(body: bytes) -> None:
    """An answer of which nothing could be read is not an answer unless it is JSON at least."""
    try:
        json.fields(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamInvalid("the provider's answer is not a JSON object") from None


def _head(exchange: Exchange) -> Head:
    return Head(exchange.path, exchange.query, {})


def _finish(whole: ir.Response) -> ir.Finish:
    return whole.choices[0].finish if whole.choices else ""


def _is_event_stream(reply: Reply) -> bool:
    for name, value in reply.headers:
        if name == b"content-type":
            return value.lower().startswith(b"text/event-stream")
    return False
