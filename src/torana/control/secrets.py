"""The secrets of virtual keys: made here, shown once, kept as a digest.

SHA-256 without salt or stretching is right for what no one can guess: a secret of ours has 256 bits of chance, so a
table of digests is as large as the search itself, and the lookup on every call stays a hash and a dictionary read.
"""

import secrets
import string
from hashlib import sha256

from torana.records import Key

PREFIX = "sk-torana-"
SECRET_RANDOM_BYTES = 32
SHOWN_CHARS = 4  # of the random part: tells keys apart, gives away 24 of 256 bits
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHARS = 43  # 32 bytes in base 62


def new_secret() -> str:
    """`sk-torana-` and 256 random bits in base 62, always 53 characters."""
    number = int.from_bytes(secrets.token_bytes(SECRET_RANDOM_BYTES))
    digits = []
    for _ in range(_CHARS):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return PREFIX + "".join(reversed(digits))


def digest(secret: str) -> bytes:
    """What is kept of a secret and looked up on every call."""
    return sha256(secret.encode()).digest()


def prefix_of(secret: str) -> str:
    """The beginning of a secret, for people. A secret that is not ours shows nothing of itself: it may be short."""
    return secret[: len(PREFIX) + SHOWN_CHARS] if is_ours(secret) else ""


def is_ours(secret: str) -> bool:
    return len(secret) == len(PREFIX) + _CHARS and secret.startswith(PREFIX)


def new_key(name: str, secret: str, now_us: int, *, generated: bool = False) -> Key:
    """The record of a secret. `now_us` is microseconds since 1970."""
    return Key(
        id="key_" + secrets.token_hex(8),
        name=name,
        digest=digest(secret),
        prefix=prefix_of(secret),
        created=now_us,
        source="generated" if generated else "store",
    )
