"""torana.yaml: what a person decided, checked to the last key before anything acts on it.

A configuration is read strictly: an unknown key, a wrong type, a key that stands twice, a variable that is not set
are refused, all of them at once, each with its line. Secrets come from the environment or files and are shown by
nothing here. This package knows nothing of calls and sockets.
"""

from torana.config.load import DEFAULT_NAME, database, folder, load, locate, voice
from torana.config.secret import HIDDEN, Secret
from torana.config.shape import Config, KeyRow, Log, ProviderRow, Server, Store, Tls
from torana.config.snapshot import guard, is_loopback, keys, snapshot
from torana.config.view import check, redacted, schema
from torana.config.watch import sight, watch

__all__ = [
    "DEFAULT_NAME",
    "HIDDEN",
    "Config",
    "KeyRow",
    "Log",
    "ProviderRow",
    "Secret",
    "Server",
    "Store",
    "Tls",
    "check",
    "database",
    "folder",
    "guard",
    "is_loopback",
    "keys",
    "load",
    "locate",
    "redacted",
    "schema",
    "sight",
    "snapshot",
    "voice",
    "watch",
]
