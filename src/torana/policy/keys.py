"""Who is asking: a virtual key, in whichever header the caller's client puts it.

The digest of the secret is looked up in the Snapshot; no database is asked. Two different credentials in one
request are refused: whichever we read, another reader might read the other.
"""

from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qs

from torana.call import Call
from torana.errors import ConflictingCredentials, InvalidRequest, Unauthorized
from torana.net import Exchange
from torana.records import Key, Snapshot

CARRIERS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"helicone-auth")
QUERY_FIELDS_MAX = 64  # the most that any client observed sends is two
SECRET_BYTES_MAX = 512  # ours have 53; other gateways' tokens are JWTs of about 400


class KeyGate:
    """Admits calls that carry a valid key and puts it on the call."""

    def admit(self, call: Call) -> None:
        call.key = authenticate(call.exchange, call.snapshot)

    def settle(self, call: Call) -> None:
        pass


def authenticate(exchange: Exchange, snapshot: Snapshot) -> Key:
    """The key of a request. Raises Unauthorized or ConflictingCredentials; never says which part was wrong."""
    secret = credential(exchange)
    if not secret:
        raise Unauthorized(
            "no API key: send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'",
            param="authorization",
        )
    digest = sha256(secret[:SECRET_BYTES_MAX]).digest()
    key = snapshot.keys.get(digest)
    if key is None or not compare_digest(key.digest, digest) or len(secret) > SECRET_BYTES_MAX:
        raise Unauthorized("this API key is not known here; list the keys with: torana keys list")
    if key.revoked:
        raise Unauthorized("this API key was revoked")
    return key


def credential(exchange: Exchange) -> bytes:
    """The one credential of a request, from whatever carrier; b"" if there is none."""
    headers, found = exchange.headers, b""
    for name in CARRIERS:
        value = headers.get(name)
        if value is None:
            continue
        if name in exchange.repeated:
            raise ConflictingCredentials(f"the header {name.decode()!r} stands twice")
        secret = _bare(value)
        if found and secret and secret != found:
            raise ConflictingCredentials("two different credentials in one request; send one")
        found = found or secret
    if "key=" in exchange.query:
        found = _with_query(exchange.query, found)
    return found


def _bare(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if rest and scheme.lower() == b"bearer" else value.strip()


def _with_query(query: str, found: bytes) -> bytes:
    values = {value.encode() for value in query_fields(query).get("key", ())}
    if len(values | ({found} if found else set())) > 1:
        raise ConflictingCredentials("two different credentials in one request; send one")
    return values.pop() if values else found


def query_fields(query: str) -> dict[str, list[str]]:
    """The fields of a query, each with its values. Raises InvalidRequest for too many."""
    try:
        return parse_qs(query, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise InvalidRequest(f"the query has more than {QUERY_FIELDS_MAX} fields") from None
