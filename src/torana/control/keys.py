"""What may be done to keys, whoever asks: the admin API, or the command line where no server runs.

A key of the configuration file is shown and cannot be changed here: the file would bring it back.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from torana.control.secrets import new_key, new_secret
from torana.errors import Forbidden, InvalidRequest, NotFound
from torana.records import Key

KEYS_MAX = 100_000  # valid ones: each is about 0.5 kB of memory in the Snapshot
NAME_CHARS_MAX = 64
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")

Object = dict[str, Any]  # JSON of ours, shaped as described() says


class KeyStore(Protocol):
    """Where keys are kept."""

    async def all(self) -> Iterable[Key]: ...
    async def add(self, key: Key) -> None: ...
    async def revoke(self, id: str, at: int) -> object: ...


async def _unpublished() -> None:
    """Nobody holds a Snapshot."""


class Keys:
    """`clock` is microseconds since 1970; `configured` are the keys of the configuration file; `publish` is awaited
    after each change."""

    def __init__(
        self,
        store: KeyStore,
        clock: Callable[[], int],
        configured: Callable[[], Iterable[Key]] = tuple,
        publish: Callable[[], Awaitable[None]] = _unpublished,
    ) -> None:
        self._store = store
        self._clock = clock
        self._configured = configured
        self._publish = publish

    async def all(self) -> list[Key]:
        """Revoked ones too."""
        return [*self._configured(), *await self._store.all()]

    async def create(self, name: str) -> tuple[Key, str]:
        """A key and its secret, which is kept nowhere. Raises InvalidRequest for a bad name or one that is taken."""
        check_name(name)
        _refuse_name(name, [key for key in await self.all() if not key.revoked])
        secret = new_secret()
        key = new_key(name, secret, self._clock())
        await self._store.add(key)
        await self._publish()
        return key, secret

    async def revoke(self, id: str) -> Key:
        """The key as it is now. Revoking twice is no error and changes nothing. Raises NotFound or Forbidden."""
        if any(key.id == id for key in self._configured()):
            raise Forbidden("this key stands in the configuration file; remove it there", param="id")
        key = await self._find(id)
        if not key.revoked:
            await self._store.revoke(id, self._clock())
            await self._publish()
        return await self._find(id)

    async def _find(self, id: str) -> Key:
        for key in await self._store.all():
            if key.id == id:
                return key
        raise NotFound("there is no key of this id; see them with: torana keys list", param="id")


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"a key's name is 1 to {NAME_CHARS_MAX} letters, digits, spaces and any of . _ @ -, and begins with a "
            "letter or digit",
            param="name",
        )


def _refuse_name(name: str, valid: list[Key]) -> None:
    """A name stands for one holder."""
    for key in valid:
        if key.name == name:
            raise InvalidRequest(
                f"there is a key of the name {name!r} ({key.id}); revoke it first, or take another name",
                param="name",
            )
    if len(valid) >= KEYS_MAX:
        raise InvalidRequest(f"there are {KEYS_MAX} valid keys, which is the limit; revoke some")


def described(key: Key) -> Object:
    """{"object":"key","id","name","prefix","created","revoked","source"}; times in seconds since 1970, or null."""
    return {
        "object": "key",
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "created": key.created // 1_000_000 or None,
        "revoked": key.revoked // 1_000_000 or None,
        "source": key.source,
    }
