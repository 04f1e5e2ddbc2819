"""What we remember: keys, calls and attempts, behind small interfaces. Why it is remembered is not known here.

Two stores keep the same promises (tests/stores/test_contract.py runs over both): sqlite for a file, memory for
tests and for `store: {url: "memory:"}`. Every method may raise StoreError; what was asked is then not done and may
be asked again: each method can be repeated without harm.
"""

from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct, field

from torana.errors import ConfigError
from torana.records import AttemptEntry, CallEntry, Key, Tokens

Durability = Literal["balanced", "strict"]
# balanced: what was written survives the end of the process. strict: and the loss of power.

RECENT_MAX = 1000  # rows of one listing; a caller pages with `before`


class Batch(Struct):
    """Entries of one transaction. Nobody changes a settled entry afterwards; of a begun one only what is known at
    its beginning is read. Attempts are known by (call id, number)."""

    calls_begun: dict[str, CallEntry] = field(default_factory=dict)
    calls_settled: dict[str, CallEntry] = field(default_factory=dict)
    attempts_begun: dict[tuple[str, int], AttemptEntry] = field(default_factory=dict)
    attempts_settled: dict[tuple[str, int], AttemptEntry] = field(default_factory=dict)

    def __len__(self) -> int:
        return (
            len(self.calls_begun)
            + len(self.calls_settled)
            + len(self.attempts_begun)
            + len(self.attempts_settled)
        )


class Totals(Struct, frozen=True):
    """Sums over calls, for accounts to be compared. `cost` leaves out the calls of `unpriced`."""

    calls: int = 0
    intents: int = 0  # of the calls, those never settled
    attempts: int = 0
    unpriced: int = 0  # of the calls, those settled without a known price
    cost: int = 0  # nano-dollars
    tokens: Tokens = Tokens()


class KeyStore(Protocol):
    """Virtual keys. all() is in the order of their creation and has the revoked ones too. add() raises
    InvalidRequest for an id or a secret that exists, revoke() NotFound; a second revocation changes nothing."""

    async def all(self) -> list[Key]: ...
    async def add(self, key: Key) -> None: ...
    async def revoke(self, id: str, at: int) -> Key: ...


class EntryStore(Protocol):
    """Calls and attempts. append() is one transaction: all of the batch or none. An intent never replaces anything
    and a settled entry replaces only an intent, so the first settlement of an id stands whatever is repeated.

    recover() is for the start, before anything is appended: it marks the intents an earlier process left with the
    error "unsettled" and returns how many calls were marked, so each crash is counted once. recent() is newest
    first, of one key or of all; `before` is the last id of the page before.
    """

    async def recover(self) -> int: ...
    async def append(self, batch: Batch) -> None: ...
    async def call(self, id: str) -> CallEntry | None: ...
    async def attempts(self, call_id: str) -> list[AttemptEntry]: ...
    async def recent(self, key_id: str = "", *, limit: int = 50, before: str = "") -> list[CallEntry]: ...
    async def totals(self, key_id: str = "", model: str = "") -> Totals: ...


class Store(Protocol):
    @property
    def keys(self) -> KeyStore: ...
    @property
    def entries(self) -> EntryStore: ...

    async def close(self) -> None: ...


async def open_store(url: str, *, durability: Durability = "balanced") -> Store:
    """`sqlite:///relative.db`, `sqlite:////absolute.db` or `memory:`. Raises ConfigError for any other address and
    StoreError for a file that cannot be used."""
    if url == "memory:":
        from torana.store.memory import MemoryStore

        return MemoryStore()
    return await _open_sqlite(sqlite_path(url), durability)


async def _open_sqlite(path: Path, durability: Durability) -> Store:
    from torana.store.sqlite import SqliteStore

    return await SqliteStore.open(path, durability=durability)


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:` address."""
    scheme, slashes, path = url.partition(":///")
    if scheme != "sqlite" or not slashes or not path or "\0" in path:
        raise ConfigError(
            f"the store address {url!r} is not one of sqlite:///FILE, sqlite:////ABSOLUTE/FILE and memory:",
            param="store.url",
        )
    return Path(path)


__all__ = [
    "RECENT_MAX",
    "Batch",
    "Durability",
    "EntryStore",
    "KeyStore",
    "Store",
    "Totals",
    "open_store",
    "sqlite_path",
]
