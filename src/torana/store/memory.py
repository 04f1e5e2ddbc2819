"""A store that forgets when the process ends: a real one with all the promises but durability.

Entries are copied in and out, so that no caller holds what another one reads.
"""

from msgspec import structs

from torana.errors import InvalidRequest, NotFound
from torana.records import AttemptEntry, CallEntry, Key, Tokens
from torana.store import RECENT_MAX, Batch, Totals


class MemoryStore:
    def __init__(self) -> None:
        self.keys = MemoryKeys()
        self.entries = MemoryEntries()

    async def close(self) -> None:
        """Nothing is held that outlives the process."""


class MemoryKeys:
    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    async def all(self) -> list[Key]:
        return sorted(self._keys.values(), key=lambda key: (key.created, key.id))

    async def add(self, key: Key) -> None:
        if key.id in self._keys or any(key.digest == other.digest for other in self._keys.values()):
            raise InvalidRequest("a key with this id or this secret exists already")
        self._keys[key.id] = key

    async def revoke(self, id: str, at: int) -> Key:
        key = self._keys.get(id)
        if key is None:
            raise NotFound(f"there is no key with the id {id!r}")
        if not key.revoked:
            key = self._keys[id] = structs.replace(key, revoked=at)
        return key


class MemoryEntries:
    def __init__(self) -> None:
        self._calls: dict[str, CallEntry] = {}
        self._attempts: dict[tuple[str, int], AttemptEntry] = {}

    async def recover(self) -> int:
        return 0  # nothing was here before this process

    async def append(self, batch: Batch) -> None:
        for id, call in batch.calls_begun.items():
            if id not in self._calls:
                self._calls[id] = begun_call(call)
        for id, call in batch.calls_settled.items():
            if id not in self._calls or self._calls[id].state == "intent":
                self._calls[id] = structs.replace(call)
        for place, attempt in batch.attempts_begun.items():
            if place not in self._attempts:
                self._attempts[place] = begun_attempt(attempt)
        for place, attempt in batch.attempts_settled.items():
            if place not in self._attempts or self._attempts[place].state == "intent":
                self._attempts[place] = structs.replace(attempt)

    async def call(self, id: str) -> CallEntry | None:
        call = self._calls.get(id)
        return None if call is None else structs.replace(call)

    async def attempts(self, call_id: str) -> list[AttemptEntry]:
        found = [attempt for (id, _), attempt in self._attempts.items() if id == call_id]
        return [structs.replace(attempt) for attempt in sorted(found, key=lambda attempt: attempt.number)]

    async def recent(self, key_id: str = "", *, limit: int = 50, before: str = "") -> list[CallEntry]:
        found = [
            call
            for call in self._calls.values()
            if (not key_id or call.key_id == key_id) and (not before or call.id < before)
        ]
        found.sort(key=lambda call: call.id, reverse=True)
        return [structs.replace(call) for call in found[: max(0, min(limit, RECENT_MAX))]]

    async def totals(self, key_id: str = "", model: str = "") -> Totals:
        calls = [
            call
            for call in self._calls.values()
            if (not key_id or call.key_id == key_id) and (not model or call.model == model)
        ]
        ids = {call.id for call in calls}
        settled = [call for call in calls if call.state != "intent"]
        sums = {
            name: sum(getattr(call.tokens, name) for call in settled)
            for name in Tokens.__struct_fields__
            if name != "estimated"
        }
        return Totals(
            calls=len(calls),
            intents=len(calls) - len(settled),
            attempts=sum(id in ids for id, _ in self._attempts),
            unpriced=sum(call.cost is None for call in settled),
            cost=sum(call.cost or 0 for call in settled),
            tokens=Tokens(**sums, estimated=any(call.tokens.estimated for call in settled)),
        )


def begun_call(call: CallEntry) -> CallEntry:
    """What is known of a call at its beginning."""
    return CallEntry(
        id=call.id,
        key_id=call.key_id,
        surface=call.surface,
        asked=call.asked,
        stream=call.stream,
        started=call.started,
    )


def begun_attempt(attempt: AttemptEntry) -> AttemptEntry:
    """What is known of an attempt at its beginning."""
    return AttemptEntry(
        call_id=attempt.call_id,
        number=attempt.number,
        provider=attempt.provider,
        model=attempt.model,
        started=attempt.started,
    )
