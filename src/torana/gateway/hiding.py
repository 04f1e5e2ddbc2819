"""The operator's credential where a provider repeats it: kept from callers, the log and the ledger.

Relayed bytes are otherwise left alone. It knows one provider's `api_key` and nothing else that is secret.
"""

from torana.errors import Error
from torana.records import Provider

SECRET_CHARS_MIN = 20
# Shorter ones are what local servers are given for a key ("ollama", "EMPTY", "sk-no-key-required"), and words that an
# answer may hold. Providers' own keys have 32 characters or more.
HIDDEN = "[redacted]"


def secret_of(provider: Provider) -> bytes:
    """What must not be repeated; b"" if nothing is that secret."""
    key = provider.api_key
    return key.encode() if len(key) >= SECRET_CHARS_MIN else b""


def hide(data: bytes, secret: bytes) -> bytes:
    if secret and secret in data:
        return data.replace(secret, HIDDEN.encode())
    return data


def hide_text(text: str, provider: Provider) -> str:
    key = provider.api_key
    return text.replace(key, HIDDEN) if len(key) >= SECRET_CHARS_MIN and key in text else text


def hide_error(error: Error, provider: Provider) -> None:
    """Every word of an error that a provider chose."""
    error.message = hide_text(error.message, provider)
    error.kind = hide_text(error.kind, provider)
    error.param = error.param and hide_text(error.param, provider)
    error.native_code = error.native_code and hide_text(error.native_code, provider)
    error.body = hide(error.body, secret_of(provider))
