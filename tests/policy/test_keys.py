"""Authentication: which header a credential may stand in, and what two of them mean."""

from hashlib import sha256
from types import SimpleNamespace

import pytest

from torana.errors import ConflictingCredentials, Unauthorized
from torana.policy.keys import authenticate
from torana.records import Key, Snapshot

SECRET = b"sk-torana-test-secret"
KEY = Key("k1", "dev", sha256(SECRET).digest())
SNAPSHOT = Snapshot(keys={KEY.digest: KEY})


def exchange(query="", repeated=(), **headers):
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return SimpleNamespace(headers=named, query=query, repeated=frozenset(repeated))


@pytest.mark.parametrize(
    "request_",
    [
        exchange(authorization=b"Bearer " + SECRET),
        exchange(authorization=b"bearer " + SECRET),
        exchange(x_api_key=SECRET),
        exchange(api_key=SECRET),
        exchange(x_goog_api_key=SECRET),
        exchange(helicone_auth=b"Bearer " + SECRET),
        exchange(query="beta=true&key=" + SECRET.decode()),
        exchange(authorization=b"Bearer " + SECRET, x_api_key=SECRET),
    ],
)
def test_a_key_is_found_in_every_carrier(request_):
    assert authenticate(request_, SNAPSHOT) == KEY


@pytest.mark.parametrize(
    "request_",
    [
        exchange(),
        exchange(authorization=b""),
        exchange(authorization=b"Bearer "),
        exchange(authorization=b"Bearer wrong"),
        exchange(authorization=b"Basic " + SECRET),
        exchange(x_api_key=SECRET + b"x" * 600),
        exchange(cookie=SECRET),
        exchange(query="k=" + SECRET.decode()),
    ],
)
def test_anything_else_is_unauthorized(request_):
    with pytest.raises(Unauthorized):
        authenticate(request_, SNAPSHOT)


def test_a_revoked_key_is_unauthorized():
    revoked = Key("k1", "dev", KEY.digest, revoked=1)
    with pytest.raises(Unauthorized):
        authenticate(exchange(x_api_key=SECRET), Snapshot(keys={KEY.digest: revoked}))


@pytest.mark.parametrize(
    "request_",
    [
        exchange(authorization=b"Bearer " + SECRET, x_api_key=b"other"),
        exchange(x_api_key=SECRET, query="key=other"),
        exchange(query="key=a&key=b"),
        exchange(authorization=b"Bearer a, Bearer b", repeated=[b"authorization"]),
    ],
)
def test_two_different_credentials_are_refused(request_):
    with pytest.raises(ConflictingCredentials):
        authenticate(request_, SNAPSHOT)
