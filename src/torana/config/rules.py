"""What types cannot say: which settings exclude each other, and which values are traps.

Every rule yields the place and a sentence; none of them reads the network or the catalog of providers.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import UNSET

from torana.config.decode import given
from torana.config.document import Place
from torana.config.references import Problem
from torana.config.shape import AliasRow, Config, KeyRow, PriceRow, ProviderRow, Store
from torana.control.secrets import digest

# 16 characters of a random secret are the least that a guess a nanosecond would need longer than a life to find;
# what torana makes has 256 bits. Eight different ones rule out "aaaaaaaaaaaaaaaa" and the like.
SECRET_CHARS_MIN = 16
SECRET_DIFFERENT_MIN = 8
PRICE_MAX = Decimal(
    100_000
)  # dollars per million tokens: ten times the dearest there is, per token's own unit
ALIAS_CHARS_MAX = 256
LIMIT_MAX = 2**40  # a terabyte: larger is a typing mistake

_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_VARIABLE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


def problems(config: Config) -> Iterator[Problem]:
    yield from store(config.store)
    for name in config.server.limits.__struct_fields__:
        if not 0 < getattr(config.server.limits, name) <= LIMIT_MAX:
            yield ("server", "limits", name), f"a limit is above 0 and at most {LIMIT_MAX}"
    if config.server.tls is not None:
        for name in ("cert", "key"):
            path = getattr(config.server.tls, name)
            if not Path(path).is_file():
                yield ("server", "tls", name), f"there is no file {path}"
    yield from _keys(config.keys)
    for name, row in config.providers.items():
        yield from _provider(row, ("providers", name))
    for name, alias in config.models.items():
        yield from _alias(name, alias, ("models", name))


def store(row: Store) -> Iterator[Problem]:
    if row.url != "memory:" and not re.fullmatch(r"sqlite:///[^?#\0]+", row.url):
        yield ("store", "url"), "expected sqlite:///relative.db, sqlite:////absolute/path.db or memory:"


def _keys(keys: tuple[KeyRow, ...]) -> Iterator[Problem]:
    names: dict[str, int] = {}
    digests: dict[bytes, int] = {}
    for index, row in enumerate(keys):
        place = ("keys", index)
        if row.name in names:
            yield (*place, "name"), f"a second key of the name {row.name!r}; give each holder a name"
        names[row.name] = index
        if (row.secret is UNSET) == (row.hash is UNSET):
            yield place, "give `secret` or `hash`, one of the two"
            continue
        if (weak := weakness(row)) is not None:
            yield (*place, *weak[0]), weak[1]
            continue
        if (found := digest_of(row)) in digests:
            yield place, f"the same secret as keys[{digests[found]}]; give each holder one"
        digests[found] = index


def weakness(row: KeyRow) -> Problem | None:
    """Why a key's secret or hash cannot be accepted."""
    if row.secret is UNSET:
        if not _HASH.fullmatch(str(row.hash)):
            return ("hash",), "expected sha256: and 64 hexadecimal digits"
        return None
    secret = row.secret.reveal()
    if len(secret) < SECRET_CHARS_MIN or len(set(secret)) < SECRET_DIFFERENT_MIN:
        why = f"the secret can be guessed: it needs {SECRET_CHARS_MIN} random characters or more"
        return ("secret",), f"{why} (try: openssl rand -hex 32)"
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return ("secret",), "the secret holds characters that an HTTP header cannot carry"
    return None


def digest_of(row: KeyRow) -> bytes:
    if row.secret is UNSET:
        return bytes.fromhex(str(row.hash).removeprefix("sha256:"))
    return digest(row.secret.reveal())


def _provider(row: ProviderRow, place: Place) -> Iterator[Problem]:
    """The rest of a provider's row is checked where it meets the catalog."""
    if row.base_url is not UNSET and (why := _address(row.base_url)):
        yield (*place, "base_url"), why
    if isinstance(row.models, dict):
        for id, model in row.models.items():
            yield from _price(given(model).get("price"), (*place, "models", id, "price"))


def _address(url: str) -> str:
    try:
        parts = urlsplit(_VARIABLE.sub("x", url))
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not an address; expected https://host/path"
    if parts.scheme not in ("http", "https") or not host:
        return "expected an address such as https://host/v1"
    if parts.username is not None or parts.password is not None:
        return "an address holds no user and password; use `api_key` or `headers`"
    if parts.query or parts.fragment:
        return "an address ends before `?` and `#`; use `query`"
    return ""


def _alias(name: str, row: AliasRow, place: Place) -> Iterator[Problem]:
    if not name.isprintable() or len(name) > ALIAS_CHARS_MAX or "," in name or name[:1] in ("!", ""):
        yield place, "a model's name has no comma, begins with no `!` and has at most 256 characters"
    for index, target in enumerate(row.targets):
        provider, _, model = target.partition("/")
        if not provider or not model:
            yield (*place, "targets", index), "expected provider/model"
    yield from _price(given(row).get("price"), (*place, "price"))


def _price(price: PriceRow | None, place: Place) -> Iterator[Problem]:
    if price is None:
        return
    for field in price.__struct_fields__:
        if field in ("calls", "above", "request"):
            continue
        amount = getattr(price, field)
        if amount is not None and not _payable(amount, places=6):
            yield (*place, field), "a price is from 0 to 100000 dollars per million tokens, to six decimals"
    for name, amount in [("request", price.request), *price.calls.items()]:
        if not _payable(amount, places=9):
            at = (*place, name) if name == "request" else (*place, "calls", name)
            yield at, "a price is from 0 to 100000 dollars, to nine decimals"
    least = 0
    for index, tier in enumerate(price.above):
        at = (*place, "above", index)
        if tier.tokens <= least:
            yield (*at, "tokens"), "each card is for more tokens than the one before"
        least = tier.tokens
        if tier.price.above:
            yield (*at, "price", "above"), "the card of longer prompts has no cards of its own"
        yield from _price(tier.price, (*at, "price"))


def _payable(amount: Decimal, *, places: int) -> bool:
    if not amount.is_finite() or not 0 <= amount <= PRICE_MAX:
        return False
    return amount.scaleb(places) == amount.scaleb(places).to_integral_value()
