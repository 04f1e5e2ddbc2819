"""Entries as rows and rows as entries: the columns, their order, and the statements made of them.

Many rows go in one statement. The driver gives up the interpreter's lock around each statement it runs, so a
statement per row would cost the writing thread two struggles for the lock per row with a busy event loop: measured,
100 rows then take 5 ms and a fifth of the loop's throughput, against 1.5 ms and nothing at 16 rows a statement.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from sqlite3 import Connection

from torana.errors import StoreError
from torana.records import AttemptEntry, CallEntry, Key, State, Tokens

Value = str | int | bytes | None
Row = tuple[Value, ...]

STATEMENT_ROWS = (16, 4, 1)  # rows per statement, largest first; each is compiled once and kept
INTEGER_MAX = 2**53
# What an impossible number is stored as. SQLite holds up to 2^63 - 1, but a sum of two such numbers is an error there.
TEXT_CHARS_MAX = 16_384
# A field that callers or providers fill. OpenAI allows metadata of 16 names of 64 and values of 512 characters.
METADATA_TOO_LONG = f'{{"torana":"metadata of more than {TEXT_CHARS_MAX} characters was not kept"}}'

CALL_BEGUN = ("id", "key_id", "surface", "asked", "stream", "started")
CALL = (
    *CALL_BEGUN,
    *("state", "status", "error", "provider", "model", "attempts"),
    *("input", "cache_read", "cache_write", "cache_write_1h", "tool_input", "output", "reasoning", "other"),
    *("estimated", "cost", "priced", "latency", "first", "overhead", "user", "metadata", "dropped"),
)
ATTEMPT_BEGUN = ("call_id", "number", "provider", "model", "started")
ATTEMPT = (*ATTEMPT_BEGUN, "state", "status", "error", "upstream_id", "latency", "first")
KEY = ("id", "name", "digest", "prefix", "created", "revoked", "source")


# ---------------------------------------------------------------- entries to rows


def call_begun_row(call: CallEntry) -> Row:
    return (
        call.id,
        call.key_id,
        call.surface,
        call.asked[:TEXT_CHARS_MAX],
        1 if call.stream else 0,
        call.started,
    )


def call_row(call: CallEntry) -> Row:
    """Booleans become integers here: the driver has a fast path for an exact int, not for a bool."""
    tokens = call.tokens
    return (
        call.id,
        call.key_id,
        call.surface,
        call.asked[:TEXT_CHARS_MAX],
        1 if call.stream else 0,
        call.started,
        call.state,
        call.status,
        call.error,
        call.provider,
        call.model,
        call.attempts,
        tokens.input,
        tokens.cache_read,
        tokens.cache_write,
        tokens.cache_write_1h,
        tokens.tool_input,
        tokens.output,
        tokens.reasoning,
        tokens.other,
        1 if tokens.estimated else 0,
        call.cost,
        call.priced,
        call.latency,
        call.first,
        call.overhead,
        call.user[:TEXT_CHARS_MAX],
        call.metadata if len(call.metadata) <= TEXT_CHARS_MAX else METADATA_TOO_LONG,
        call.dropped[:TEXT_CHARS_MAX],
    )


def attempt_begun_row(attempt: AttemptEntry) -> Row:
    return attempt.call_id, attempt.number, attempt.provider, attempt.model, attempt.started


def attempt_row(attempt: AttemptEntry) -> Row:
    return (
        attempt.call_id,
        attempt.number,
        attempt.provider,
        attempt.model,
        attempt.started,
        attempt.state,
        attempt.status,
        attempt.error,
        attempt.upstream_id[:TEXT_CHARS_MAX],
        attempt.latency,
        attempt.first,
    )


def key_row(key: Key) -> Row:
    return key.id, key.name, key.digest, key.prefix, key.created, key.revoked, key.source


def storable(row: Row) -> Row:
    """A row the database can hold: numbers brought into its range, characters without a UTF-8 form replaced, what
    is neither number nor text spelled out.

    Only for batches that were refused: one such value must not keep every later entry from being written."""
    return tuple(_storable(value) for value in row)


def _storable(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-INTEGER_MAX, min(int(value), INTEGER_MAX))
    return value if value is None or isinstance(value, bytes) else str(value)


# ---------------------------------------------------------------- rows to entries
# A row is what a SELECT of the names above returned; its types are those of migrations/0001_first.sql, except that
# a file edited by hand may hold anything: _state and the decoding of text refuse that.


def call_entry(row: tuple) -> CallEntry:  # type: ignore[type-arg]  # columns of CALL, in that order
    id, key_id, surface, asked, stream, started, state, *outcome = row
    status, error, provider, model, attempts = outcome[:5]
    cost, priced, latency, first, overhead, user, metadata, dropped = outcome[14:]
    return CallEntry(
        id=id,
        key_id=key_id,
        surface=surface,
        asked=asked,
        stream=bool(stream),
        started=started,
        state=_state(state),
        status=status,
        error=error,
        provider=provider,
        model=model,
        attempts=attempts,
        tokens=tokens_of(outcome[5:14]),
        cost=cost,
        priced=priced,
        latency=latency,
        first=first,
        overhead=overhead,
        user=user,
        metadata=metadata,
        dropped=dropped,
    )


def tokens_of(columns: list) -> Tokens:  # type: ignore[type-arg]  # the nine columns that CALL has for them
    input, cache_read, cache_write, cache_write_1h, tool_input, output, reasoning, other, estimated = columns
    return Tokens(
        input=input,
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=cache_write_1h,
        tool_input=tool_input,
        output=output,
        reasoning=reasoning,
        other=other,
        estimated=bool(estimated),
    )


def attempt_entry(row: tuple) -> AttemptEntry:  # type: ignore[type-arg]  # columns of ATTEMPT, in that order
    call_id, number, provider, model, started, state, status, error, upstream_id, latency, first = row
    return AttemptEntry(
        call_id=call_id,
        number=number,
        provider=provider,
        model=model,
        started=started,
        state=_state(state),
        status=status,
        error=error,
        upstream_id=upstream_id,
        latency=latency,
        first=first,
    )


def key_of(row: tuple) -> Key:  # type: ignore[type-arg]  # columns of KEY, in that order
    return Key(*row)


_STATES: dict[str, State] = {
    "intent": "intent",
    "ok": "ok",
    "error": "error",
    "cancelled": "cancelled",
    "incomplete": "incomplete",
}


def _state(word: str) -> State:
    if (state := _STATES.get(word)) is None:
        raise StoreError(
            f"the database holds an entry in the state {word!r}, which this version does not know"
        )
    return state


# ---------------------------------------------------------------- statements


class Insert:
    """Inserts rows of one kind, as many per statement as there are. `begun` rows never replace anything; the
    others replace an intent."""

    def __init__(self, table: str, columns: tuple[str, ...], key: str, *, replaces: int) -> None:
        """`replaces`: how many leading columns an existing intent keeps; 0 leaves what exists alone."""
        self._statements = {
            rows: _insert(table, columns, key, rows=rows, replaces=replaces) for rows in STATEMENT_ROWS
        }

    def run(self, connection: Connection, rows: list[Row]) -> None:
        for part in _parts(rows):
            connection.execute(self._statements[len(part)], list(chain.from_iterable(part)))


def _parts(rows: list[Row]) -> Iterator[list[Row]]:
    at = 0
    for size in STATEMENT_ROWS:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


def _insert(table: str, columns: tuple[str, ...], key: str, *, rows: int, replaces: int) -> str:
    """OR ROLLBACK: a violated constraint ends the transaction, which is what we would do. Otherwise SQLite copies
    every page a statement of several rows changes, to undo that statement alone: half of the time of a batch."""
    one = f"({','.join('?' * len(columns))})"
    start = (
        f"INSERT INTO {table} ({','.join(columns)}) VALUES {','.join([one] * rows)} ON CONFLICT ({key}) DO "  # noqa: S608  # constants of this module
    )
    if not replaces:
        return start + "NOTHING"
    changes = ",".join(f"{name}=excluded.{name}" for name in columns[replaces:])
    return f"{start}UPDATE SET {changes} WHERE {table}.state = 'intent'"


CALLS_BEGUN = Insert("calls", CALL_BEGUN, "id", replaces=0)
CALLS_SETTLED = Insert("calls", CALL, "id", replaces=len(CALL_BEGUN))
ATTEMPTS_BEGUN = Insert("attempts", ATTEMPT_BEGUN, "call_id, number", replaces=0)
ATTEMPTS_SETTLED = Insert("attempts", ATTEMPT, "call_id, number", replaces=len(ATTEMPT_BEGUN))


def select(columns: Iterable[str], table: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  # constants of this module
