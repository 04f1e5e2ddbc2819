"""How likely each token was: OpenAI's lists by kind of text, and Together's two parallel lists."""

from msgspec import Raw, Struct

from torana.dialects.openai_chat.wire import Token, logprobs_decoder
from torana.errors import UpstreamInvalid
from torana.ir import Logprob
from torana.wire import json

UNLIKELY = -9999.0  # what the API itself says of a token it has no number for


class Scores(Struct):
    content: tuple[Logprob, ...] = ()
    refusal: tuple[Logprob, ...] = ()
    reasoning: tuple[Logprob, ...] = ()


def parse_logprobs(raw: Raw) -> Scores | None:
    """None for what is no object: some stream a bare number."""
    if bytes(memoryview(raw)[:1]) != b"{":
        return None
    said = json.read(logprobs_decoder, raw, UpstreamInvalid)
    content = _tokens(said.content)
    if not content and said.tokens:
        pairs = zip(said.tokens, said.token_logprobs or (), strict=False)
        content = tuple([Logprob(token or "", _number(number)) for token, number in pairs])
    return Scores(content, _tokens(said.refusal), _tokens(said.reasoning_content))


def _tokens(tokens: list[Token] | None) -> tuple[Logprob, ...]:
    return tuple([_token(token) for token in tokens or ()])


def _token(token: Token) -> Logprob:
    utf8 = bytes(token.bytes) if isinstance(token.bytes, list) else b""
    return Logprob(token.token, _number(token.logprob), utf8, _tokens(token.top_logprobs))


def _number(number: float | None) -> float:
    return UNLIKELY if number is None else float(number)


def render_logprobs(scores: tuple[Logprob, ...]) -> list[dict[str, object]]:
    return [{**_render(score), "top_logprobs": [_render(other) for other in score.top]} for score in scores]


def _render(score: Logprob) -> dict[str, object]:
    utf8 = list(score.utf8) if score.utf8 else list(score.token.encode())
    return {"token": score.token, "logprob": score.logprob, "bytes": utf8}
