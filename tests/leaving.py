"""Callers that leave, and what the ledger says of the last call."""

import socket
import time
from collections.abc import Callable

from running import SECRET
from torana.records import CallEntry

PATIENCE_S = 5.0


def leave(
    torana,
    model: str,
    *,
    stream: bool,
    after: bytes = b"",
    path: str = "/v1/chat/completions",
    until: Callable[[], bool] = lambda: True,
) -> None:
    """Send a request, wait for `after` in the answer and for `until`, and close."""
    body = b'{"model":"%b","stream":%b,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}' % (
        model.encode(),
        b"true" if stream else b"false",
    )
    with socket.create_connection(("127.0.0.1", torana.port), 10) as sock:
        sock.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), SECRET.encode(), len(body), body)
        )
        seen = b""
        while after not in seen:
            data = sock.recv(65536)
            assert data, "the answer ended early"
            seen += data
        deadline = time.monotonic() + PATIENCE_S
        while not until() and time.monotonic() < deadline:
            time.sleep(0.01)


def entry_of_last_call(torana, key_id: str = "config:test") -> CallEntry:
    for _ in range(200):
        torana.do(torana.app.ledger.flush())
        [call] = torana.do(torana.app._store.entries.recent(key_id, limit=1))
        if call.state != "intent" and not torana.app.counters.active:
            break
        time.sleep(0.02)
    return call
