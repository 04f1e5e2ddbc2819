"""The small files beside the database, each readable by its owner only.

- torana.run.json says where the running server is: {"pid", "address", "token", "cert"}.
- torana.token holds the secret that the admin API asks for; a new one at each start.
- torana.key holds the key made at the first run, until its owner removes the file.

Whoever can write into the folder could send a caller's token elsewhere, so files of another owner, or open to
others, are refused.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.json import Decoder

from torana.control.secrets import digest, is_ours, new_key, new_secret
from torana.errors import ConfigError, StoreError
from torana.records import Key
from torana.wire.json import encode, read

RUN_NAME = "torana.run.json"
TOKEN_NAME = "torana.token"  # noqa: S105 - the name of a file
KEY_NAME = "torana.key"
FILE_BYTES_MAX = 4096  # each holds a line
FIRST_KEY_NAME = "first-run"
PRIVATE_MODE = 0o600


class Running(Struct, frozen=True, forbid_unknown_fields=True):
    """A server as its run file describes it. `token` and `cert` are paths; `cert` is "" without TLS."""

    pid: int
    address: str
    token: str
    cert: str = ""


class FirstKey(Struct, frozen=True):
    """The key a first run makes so that the first call can succeed. `key` is to be added to the store where `new`."""

    key: Key
    secret: str
    path: Path
    new: bool


_running = Decoder(Running)


def announce(folder: Path, address: str, cert: str = "") -> str:
    """Write the run file and a new token; returns the token. `address` is such as http://127.0.0.1:8080."""
    token = secrets.token_urlsafe(32)
    write_private(folder / TOKEN_NAME, token + "\n")
    running = Running(os.getpid(), address, str((folder / TOKEN_NAME).absolute()), cert)
    write_private(folder / RUN_NAME, encode(running).decode() + "\n")
    return token


def withdraw(folder: Path) -> None:
    """Remove what announce() wrote, if it is ours still."""
    running = None
    with contextlib.suppress(ConfigError, StoreError):
        running = find(folder)
    if running is not None and running.pid == os.getpid():
        for name in (RUN_NAME, TOKEN_NAME):
            (folder / name).unlink(missing_ok=True)


def find(folder: Path) -> Running | None:
    """The server that says it runs on the data in `folder`. It may have been killed since: see is_alive()."""
    text = read_private(folder / RUN_NAME)
    return None if text is None else read(_running, text, ConfigError)


def is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def token_of(running: Running) -> str:
    text = read_private(Path(running.token))
    if text is None:
        raise ConfigError(
            f"the server's token file {running.token} is gone; restart the server to make a new one"
        )
    return text.decode("ascii", "replace").strip()


def first_key(folder: Path, stored: Iterable[Key], now_us: int) -> FirstKey | None:
    """What to do about a key for whoever has none. `stored` has revoked keys too; call it when the configuration
    has no keys.

    None where keys were made on purpose, or where the generated one's file was removed. The secret in a file whose
    database is gone is taken up again, so that clients keep working; a revoked one is not.
    """
    stored = list(stored)
    path = folder / KEY_NAME
    held = (read_private(path) or b"").decode("ascii", "replace").strip()
    known = {key.digest: key for key in stored}
    owner = known.get(digest(held)) if held else None
    if owner is not None and not owner.revoked:
        return FirstKey(owner, held, path, new=False)
    if any(not key.revoked for key in stored):
        return None
    secret = held if is_ours(held) and owner is None else new_secret()
    write_private(path, secret + "\n")
    return FirstKey(new_key(FIRST_KEY_NAME, secret, now_us, generated=True), secret, path, new=True)


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment. Raises StoreError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_MODE)
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        beside.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {exc.strerror}") from None


def read_private(path: Path) -> bytes | None:
    """What a private file holds; None if there is none. Raises ConfigError for one that others could have written."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from None
    with os.fdopen(number, "rb") as file:
        state = os.fstat(number)
        own = state.st_uid == os.geteuid() or os.geteuid() == 0
        if not stat.S_ISREG(state.st_mode) or not own or state.st_mode & 0o077:
            raise ConfigError(
                f"{path} must be a file of your own that others cannot open; mend it with: chmod 600 {path}"
            )
        return file.read(FILE_BYTES_MAX)
