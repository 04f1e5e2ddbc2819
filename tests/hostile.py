"""A caller that means harm, or knows no better: keeps one connection as long as it can, sends what it is given, and
judges every answer as an API of its dialect would be judged."""

import http.client
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from running import SECRET

PATHS = {"openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages"}
ASKED = {
    "openai_chat": {"model": "mock/gpt-x", "messages": [{"role": "user", "content": "hi"}]},
    "anthropic": {"model": "ant/claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
}
Answer = tuple[int, dict[str, str], bytes]


class Caller:
    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, target: str, body: bytes | None = None, head: dict | None = None) -> Answer:
        """One request; a connection that the last answer closed is opened anew."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            told = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"} | (head or {})
            self._connection.request(method, target, body, told)
            response = self._connection.getresponse()
            answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
            if response.will_close:
                self.close()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return answer

    def post(self, dialect: str, body: bytes | dict, head: dict | None = None) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", PATHS[dialect], data, head)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def refusal(dialect: str, answer: Answer) -> dict:
    """The error of a refused request, which has to be the caller's fault and in the caller's dialect."""
    status, head, body = answer
    assert 400 <= status < 500, (status, body[:300])
    assert head["content-type"] == "application/json"
    found = json.loads(body)
    error = found["error"]
    assert isinstance(error["message"], str) and error["message"]
    if dialect == "anthropic":
        assert (found["type"], set(error)) == ("error", {"type", "message"})
    else:
        assert set(error) >= {"message", "type", "param", "code"}
    return error


class Listener(logging.Handler):
    """Everything that is logged, as it would stand in the log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.broken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("torana", "asyncio", "uvloop")):
            text = self.format(record)
            self.lines.append(text)
            if record.exc_info or "\n" in text or "\r" in text:
                self.broken.append(text)


@contextmanager
def listening() -> Iterator[Listener]:
    """Hear the whole log, at its most talkative."""
    listener, root = Listener(), logging.getLogger()
    ours = logging.getLogger("torana")
    levels = root.level, ours.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    ours.setLevel(logging.DEBUG)
    try:
        yield listener
    finally:
        root.removeHandler(listener)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
