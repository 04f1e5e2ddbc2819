"""Who may change what: the admin API and the small files that let its owner reach it.

Served on loopback only, to whoever can read the token file. It changes the store, then asks for the Snapshot to be
published; what the data path does with it is not known here.
"""

from typing import TYPE_CHECKING

from torana.control.keys import Keys, KeyStore

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["KeyStore", "Keys", "build"]


def build(keys: Keys, token: str) -> "Starlette":
    """The admin API. It is loaded here and not above: reading a configuration needs no web framework."""
    from torana.control import api

    return api.build(keys, token)
