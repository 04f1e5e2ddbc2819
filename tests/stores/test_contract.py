"""What every store promises, asked of each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from torana.errors import ConfigError, InvalidRequest, NotFound
from torana.records import AttemptEntry, CallEntry, Key, Tokens
from torana.store import RECENT_MAX, Batch, Store, Totals, open_store, sqlite_path

DEV = Key("key_1", "dev", b"\x01" * 32, "sk-torana-ab", created=1)
OPS = Key("key_2", "ops", b"\x02" * 32, "sk-torana-cd", created=2, source="generated")


@pytest.fixture(params=["memory", "sqlite", "sqlite strict"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Callable:
    """Run an async function on a fresh store of each kind."""

    def run(story: Callable[[Store], Awaitable[object]]) -> object:
        async def told() -> object:
            url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/torana.db"
            store = await open_store(url, durability="strict" if "strict" in request.param else "balanced")
            try:
                return await story(store)
            finally:
                await store.close()

        return asyncio.run(told())

    return run


def a_call(id: str = "c1", **fields: object) -> CallEntry:
    known = {
        "key_id": "key_1",
        "surface": "openai_chat",
        "asked": "gpt-4o",
        "stream": False,
        "started": 1_000,
    }
    return CallEntry(**{"id": id, **known, **fields})


def an_attempt(call_id: str = "c1", number: int = 1, **fields: object) -> AttemptEntry:
    return AttemptEntry(
        **{
            "call_id": call_id,
            "number": number,
            "provider": "openai",
            "model": "gpt",
            "started": 1_001,
            **fields,
        }
    )


INTENT = a_call(stream=True)
SETTLED = a_call(
    stream=True,
    state="incomplete",
    status=200,
    error="stream_incomplete",
    provider="openai",
    model="gpt-4o-2024-08-06",
    attempts=2,
    tokens=Tokens(1, 2, 3, 4, 5, 6, 7, 8, estimated=True),
    cost=2**40,
    priced="a source of 2026",
    latency=1_500_000,
    first=300_000,
    overhead=90,
    user="Zoë \0 💡",
    metadata='{"a":"b"}',
    dropped="seed",
)
ANSWERED = an_attempt(
    state="error", status=529, error="overloaded_error", upstream_id="req_1", latency=77, first=-1
)


def begun(*calls: CallEntry) -> Batch:
    return Batch(calls_begun={call.id: call for call in calls})


def settled(*calls: CallEntry) -> Batch:
    return Batch(calls_settled={call.id: call for call in calls})


# ---------------------------------------------------------------- keys


def test_a_key_added_is_listed_as_it_was(ask):
    async def story(store: Store) -> list[Key]:
        await store.keys.add(OPS)
        await store.keys.add(DEV)
        return await store.keys.all()

    assert ask(story) == [DEV, OPS]


@pytest.mark.parametrize(
    "twin", [Key("key_1", "b", b"\x09" * 32), Key("key_9", "b", DEV.digest)], ids=["id", "secret"]
)
def test_a_key_with_a_known_id_or_secret_is_refused_and_the_first_stays(ask, twin):
    async def story(store: Store) -> list[Key]:
        await store.keys.add(DEV)
        with pytest.raises(InvalidRequest, match="exists already"):
            await store.keys.add(twin)
        return await store.keys.all()

    assert ask(story) == [DEV]


def test_a_revoked_key_stays_listed_with_the_time_of_its_first_revocation(ask):
    async def story(store: Store) -> list[object]:
        await store.keys.add(DEV)
        times = [(await store.keys.revoke("key_1", at)).revoked for at in (50, 60)]
        return [times, [key.revoked for key in await store.keys.all()]]

    assert ask(story) == [[50, 50], [50]]


def test_revoking_an_unknown_key_says_so(ask):
    async def story(store: Store) -> None:
        with pytest.raises(NotFound, match="key_7"):
            await store.keys.revoke("key_7", 1)

    ask(story)


# ---------------------------------------------------------------- entries


def test_a_settled_call_is_read_back_in_every_field(ask):
    async def story(store: Store) -> CallEntry | None:
        await store.entries.append(settled(SETTLED))
        return await store.entries.call("c1")

    assert ask(story) == SETTLED


def test_an_attempt_is_read_back_in_every_field_and_in_order(ask):
    second = an_attempt(number=2, state="ok", status=200)

    async def story(store: Store) -> list[AttemptEntry]:
        await store.entries.append(Batch(attempts_settled={("c1", 2): second, ("c1", 1): ANSWERED}))
        return await store.entries.attempts("c1")

    assert ask(story) == [ANSWERED, second]


def test_what_was_never_written_is_not_found(ask):
    async def story(store: Store) -> list[object]:
        return [
            await store.entries.call("c9"),
            await store.entries.attempts("c9"),
            await store.entries.recent(),
            await store.entries.totals(),
        ]

    assert ask(story) == [None, [], [], Totals()]


def test_an_intent_holds_only_what_is_known_at_the_beginning(ask):
    """The gateway may be half way through filling the entry in when it is written."""

    async def story(store: Store) -> list[object]:
        await store.entries.append(
            Batch(
                calls_begun={"c1": a_call(state="ok", status=200, cost=5)},
                attempts_begun={("c1", 1): ANSWERED},
            )
        )
        return [await store.entries.call("c1"), await store.entries.attempts("c1")]

    assert ask(story) == [a_call(), [an_attempt()]]


def test_a_settlement_replaces_its_intent(ask):
    async def story(store: Store) -> list[object]:
        await store.entries.append(
            Batch(calls_begun={"c1": a_call(stream=True)}, attempts_begun={("c1", 1): an_attempt()})
        )
        await store.entries.append(
            Batch(calls_settled={"c1": SETTLED}, attempts_settled={("c1", 1): ANSWERED})
        )
        return [
            await store.entries.call("c1"),
            await store.entries.attempts("c1"),
            await store.entries.recent(),
        ]

    assert ask(story) == [SETTLED, [ANSWERED], [SETTLED]]


REPEATS = {
    "settlement, then intent": [settled(SETTLED), begun(INTENT)],
    "settlement twice": [settled(SETTLED), settled(SETTLED)],
    "settlement, then another": [settled(SETTLED), settled(a_call(state="ok", cost=1))],
    "both in one batch": [Batch(calls_begun={"c1": INTENT}, calls_settled={"c1": SETTLED})],
    "everything again": [begun(INTENT), settled(SETTLED)] * 2,
}


@pytest.mark.parametrize("batches", REPEATS.values(), ids=REPEATS)
def test_the_first_settlement_of_a_call_stands_whatever_is_repeated(ask, batches):
    async def story(store: Store) -> list[object]:
        for batch in batches:
            await store.entries.append(batch)
        return [await store.entries.call("c1"), (await store.entries.totals()).calls]

    assert ask(story) == [SETTLED, 1]


def test_the_first_settlement_of_an_attempt_stands(ask):
    async def story(store: Store) -> list[AttemptEntry]:
        await store.entries.append(Batch(attempts_settled={("c1", 1): ANSWERED}))
        await store.entries.append(Batch(attempts_begun={("c1", 1): an_attempt()}))
        await store.entries.append(Batch(attempts_settled={("c1", 1): an_attempt(state="ok")}))
        return await store.entries.attempts("c1")

    assert ask(story) == [ANSWERED]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 21, 500])
def test_a_batch_of_any_size_is_written_whole(ask, count):
    calls = [a_call(f"c{n:04}", state="ok", cost=n) for n in range(count)]

    async def story(store: Store) -> list[CallEntry]:
        await store.entries.append(settled(*calls))
        return await store.entries.recent(limit=RECENT_MAX)

    assert ask(story) == calls[::-1]


def test_what_is_read_belongs_to_the_reader(ask):
    async def story(store: Store) -> CallEntry | None:
        await store.entries.append(settled(SETTLED))
        (await store.entries.call("c1")).status = 1
        (await store.entries.recent())[0].status = 2
        return await store.entries.call("c1")

    assert ask(story) == SETTLED


# ---------------------------------------------------------------- lists and sums


def test_recent_calls_of_a_key_are_paged_newest_first_without_a_gap(ask):
    """Across the edge of what SQLite has listed by key and what it has not."""
    calls = [a_call(f"c{n:05}", key_id=f"key_{n % 3}", state="ok") for n in range(5_000)]

    async def story(store: Store) -> list[list[str]]:
        for at in range(0, len(calls), 700):
            part = calls[at : at + 700]
            await store.entries.append(begun(*part))
            await store.entries.append(settled(*part))
        pages = []
        for key in ("key_0", "key_1", "key_2", ""):
            seen, before = [], ""
            while page := await store.entries.recent(key, limit=900, before=before):
                seen += [call.id for call in page]
                before = page[-1].id
            pages.append(seen)
        return pages

    expected = [[call.id for call in reversed(calls) if call.key_id == f"key_{k}"] for k in range(3)]
    assert ask(story) == [*expected, [call.id for call in reversed(calls)]]


@pytest.mark.parametrize(("limit", "expected"), [(-1, 0), (0, 0), (2, 2), (10**9, RECENT_MAX)])
def test_a_list_is_never_longer_than_its_limit(ask, limit, expected):
    calls = [a_call(f"c{n:05}") for n in range(RECENT_MAX + 5)]

    async def story(store: Store) -> int:
        await store.entries.append(begun(*calls))
        return len(await store.entries.recent(limit=limit))

    assert ask(story) == expected


def test_totals_add_up_what_is_settled_and_count_what_is_not(ask):
    batch = settled(
        a_call("c1", state="ok", model="a", cost=5, tokens=Tokens(input=1, output=2)),
        a_call("c2", state="ok", model="b", cost=None, tokens=Tokens(input=10, reasoning=3)),
        a_call(
            "c3", key_id="key_2", state="error", model="a", cost=7, tokens=Tokens(other=1, estimated=True)
        ),
    )
    batch.calls_begun["c4"] = a_call("c4")
    batch.attempts_settled = {("c1", 1): an_attempt(), ("c1", 2): an_attempt(number=2)}
    batch.attempts_begun = {("c4", 1): an_attempt("c4")}

    async def story(store: Store) -> list[Totals]:
        await store.entries.append(batch)
        return [
            await store.entries.totals(),
            await store.entries.totals("key_1"),
            await store.entries.totals(model="a"),
            await store.entries.totals("key_2", "a"),
        ]

    of_c3 = Tokens(other=1, estimated=True)
    assert ask(story) == [
        Totals(4, 1, 3, 1, 12, Tokens(input=11, output=2, reasoning=3, other=1, estimated=True)),
        Totals(3, 1, 3, 1, 5, Tokens(input=11, output=2, reasoning=3)),
        Totals(2, 0, 2, 0, 12, Tokens(input=1, output=2, other=1, estimated=True)),
        Totals(1, 0, 0, 0, 7, of_c3),
    ]


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:///torana.db", "torana.db"), ("sqlite:////var/lib/t.db", "/var/lib/t.db")]
)
def test_a_sqlite_address_names_a_relative_or_an_absolute_file(url, path):
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["", "sqlite:", "sqlite:///", "sqlite://x.db", "postgres:///x", "memory", "a\0b"]
)
def test_any_other_address_is_refused_by_name(url):
    with pytest.raises(ConfigError, match="is not one of"):
        asyncio.run(open_store(url))
