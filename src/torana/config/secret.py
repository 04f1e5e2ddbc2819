"""A value that is never printed. Knows how to hide, not what it hides."""

import hmac
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "[redacted]"


class Secret:
    """Text that only reveal() gives away: repr, str, format and JSON encoding do not."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})" if self._text else "Secret()"

    def __str__(self) -> str:
        return HIDDEN if self._text else ""


def without_credentials(url: str) -> str:
    """A URL as it may be printed: user, password and query are left out."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host}" if at and user else parts.netloc
    return urlunsplit((parts.scheme, netloc, parts.path, HIDDEN if parts.query else "", ""))
