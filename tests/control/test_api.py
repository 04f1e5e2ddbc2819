"""The admin API: who is let in, what may be done to keys, what is refused."""

import asyncio
import json

import pytest
from msgspec.structs import replace

from torana import control
from torana.control.api import BODY_BYTES_MAX
from torana.control.secrets import digest, new_key, new_secret
from torana.errors import InternalError
from torana.store.memory import MemoryStore

TOKEN = "t" * 43
LOOPBACK = ("127.0.0.1", 50000)
CONFIGURED = replace(new_key("from-file", new_secret(), 0), id="config:from-file", source="config")


class Place:
    """An API over a real store in memory. `ask` answers (status, JSON)."""

    def __init__(self, configured=(CONFIGURED,)):
        self.store = MemoryStore().keys
        self.published = 0
        self.time = 1_000_000
        self.app = control.build(
            control.Keys(self.store, self.clock, lambda: configured, self.publish), TOKEN
        )

    async def publish(self):
        self.published += 1

    def clock(self):
        self.time += 1_000_000
        return self.time

    def ask(self, method, path, body=None, *, token=TOKEN, client=LOOPBACK, headers=()):
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = [(b"content-type", b"application/json"), *headers]
        if token is not None:
            sent.append((b"authorization", f"Bearer {token}".encode()))
        status, answer = asyncio.run(_call(self.app, method, path, raw, client, sent))
        return status, json.loads(answer)


async def _call(app, method, path, body, client, headers):
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "headers": headers,
        "client": client,
        "http_version": "1.1",
        "scheme": "http",
        "asgi": {"version": "3.0"},
    }
    scope |= {"server": ("127.0.0.1", 8080), "root_path": ""}
    messages, asked = [], iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        return next(asked, {"type": "http.disconnect"})

    async def send(message):
        messages.append(message)

    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


@pytest.fixture
def place():
    return Place()


def test_a_key_is_created_with_its_secret_shown_once(place):
    status, made = place.ask("POST", "/admin/v1/keys", {"name": "ann"})
    assert status == 201
    (kept,) = asyncio.run(place.store.all())
    assert kept.digest == digest(made["secret"])
    assert made == {
        "object": "key", "id": kept.id, "name": "ann", "prefix": kept.prefix, "created": 2, "revoked": None,
        "source": "store", "secret": made["secret"],
    }  # fmt: skip
    assert place.published == 1
    assert made["secret"] not in json.dumps(place.ask("GET", "/admin/v1/keys")[1])


def test_the_list_has_the_keys_of_file_and_store(place):
    place.ask("POST", "/admin/v1/keys", {"name": "ann"})
    status, found = place.ask("GET", "/admin/v1/keys")
    assert status == 200
    assert [(row["name"], row["source"]) for row in found["data"]] == [
        ("from-file", "config"),
        ("ann", "store"),
    ]
    assert [set(row) & {"digest", "secret"} for row in found["data"]] == [set(), set()]


def test_a_key_is_revoked_and_published_once(place):
    made = place.ask("POST", "/admin/v1/keys", {"name": "ann"})[1]
    status, gone = place.ask("DELETE", f"/admin/v1/keys/{made['id']}")
    assert (status, gone["revoked"]) == (200, 3)
    assert place.ask("DELETE", f"/admin/v1/keys/{made['id']}") == (200, gone)
    assert place.published == 2


def test_a_name_that_is_taken_is_refused_until_its_key_is_revoked(place):
    made = place.ask("POST", "/admin/v1/keys", {"name": "ann"})[1]
    status, told = place.ask("POST", "/admin/v1/keys", {"name": "ann"})
    assert (status, told["error"]["param"]) == (400, "name")
    assert place.ask("POST", "/admin/v1/keys", {"name": "from-file"})[0] == 400
    place.ask("DELETE", f"/admin/v1/keys/{made['id']}")
    assert place.ask("POST", "/admin/v1/keys", {"name": "ann"})[0] == 201


def test_a_key_of_the_file_cannot_be_revoked(place):
    status, told = place.ask("DELETE", "/admin/v1/keys/config:from-file")
    assert (status, told["error"]["code"]) == (403, "permission_denied")
    assert place.published == 0


def test_a_key_that_is_not_there_cannot_be_revoked(place):
    assert place.ask("DELETE", "/admin/v1/keys/key_none")[0] == 404


def test_health_says_who_answers(place):
    status, told = place.ask("GET", "/admin/v1/health")
    assert (status, told["status"]) == (200, "ok")


# ---------------------------------------------------------------- who is let in


PLACES = [
    ("GET", "/admin/v1/keys"),
    ("POST", "/admin/v1/keys"),
    ("DELETE", "/admin/v1/keys/x"),
    ("GET", "/admin/v1/health"),
]


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "t", TOKEN[:-1], "tök"])
def test_without_the_token_nothing_is_answered(place, method, path, token):
    status, told = place.ask(method, path, {"name": "ann"}, token=token)
    assert (status, told["error"]["code"]) == (401, "invalid_api_key")
    assert asyncio.run(place.store.all()) == []


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize("client", [("10.0.0.1", 1), ("::ffff:10.0.0.1", 1), ("", 0), ("localhost", 1), None])
def test_from_elsewhere_nothing_is_answered_even_with_the_token(place, method, path, client):
    assert place.ask(method, path, {"name": "ann"}, client=client)[0] == 403


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("127.8.8.8", 1), ("::1", 1)])
def test_every_loopback_address_is_near(place, client):
    assert place.ask("GET", "/admin/v1/health", client=client)[0] == 200


def test_an_api_without_a_token_is_not_built():
    with pytest.raises(InternalError):
        control.build(control.Keys(MemoryStore().keys, lambda: 0), "")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"name": 1}', b'{"name": ""}', b'{"name": "a/b"}', b'{"name": " a"}',
        b'{"name": "a\\n"}', b'{"name": "' + b"a" * 65 + b'"}', b'{"nam": "a"}', b'{"name": "a", "admin": true}',
        b'{"name": "a", "name": "b"}', b"\xff", b"[" * 5000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_key_is_refused(place, body):
    status, told = place.ask("POST", "/admin/v1/keys", body)
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")
    assert asyncio.run(place.store.all()) == []


def test_a_large_body_is_refused(place):
    assert place.ask("POST", "/admin/v1/keys", b" " * (BODY_BYTES_MAX + 1))[0] == 413


def test_a_body_of_another_type_is_refused(place):
    headers = [(b"content-type", b"text/plain")]
    app = place.app
    sent = [*headers, (b"authorization", f"Bearer {TOKEN}".encode())]
    assert asyncio.run(_call(app, "POST", "/admin/v1/keys", b"{}", LOOPBACK, sent))[0] == 415


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/admin/v1/nothing", 404), ("PUT", "/admin/v1/keys", 405)]
)
def test_an_unknown_path_or_method_is_refused_in_our_shape(place, method, path, status):
    found, told = place.ask(method, path)
    assert (found, set(told["error"])) == (status, {"message", "type", "param", "code"})


def test_a_bug_is_told_without_its_details(place):
    async def broken():
        raise RuntimeError("secret detail")

    place.store.all = broken
    status, told = place.ask("GET", "/admin/v1/keys")
    assert (status, "secret detail" in json.dumps(told)) == (500, False)
