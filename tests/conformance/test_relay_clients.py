"""The official clients read what the whole gateway makes of recorded traffic, at home and across dialects.

Byte identity is test_relay_corpus.py's; here a deterministic sample of up to EACH recordings per api and kind is
asked for with the `openai` and `anthropic` packages, without retries."""

import tomllib
from pathlib import Path

import anthropic
import openai
import pytest

import replaying
from provider import CHAT, CHAT_STREAM, MESSAGE, MESSAGE_STREAM, Provider, events, reply
from replaying import PATH, Told, canonical, exchanges, failed_choice, in_band, per_api, said, sample
from running import SECRET, Running, provider

from corpus import require

EACH = 15
DIALECTS = ("openai_chat", "anthropic")
SKIPS = tomllib.loads(Path(__file__).with_name("skips_relay.toml").read_text())
NO_ANSWERS = SKIPS["refused"] | SKIPS["strangers"]
TOLD: list[str] = []


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with replaying.replaying(tmp_path_factory.mktemp("torana")) as (torana, replay):
        chat = openai.OpenAI(base_url=f"{torana.url}/v1", api_key=SECRET, max_retries=0, timeout=20)
        messages = anthropic.Anthropic(base_url=torana.url, api_key=SECRET, max_retries=0, timeout=20)
        with chat, messages:
            yield replay, {"openai_chat": chat, "anthropic": messages}


def sampled(dialect: str, *, failing: bool, across: bool = False) -> list[dict]:
    """Whole answers and streams, or what has to raise: refusals, errors in band, streams without an end; and,
    where it is told anew, what is no answer of this API."""
    found = [r for r in exchanges(dialect) if r["id"] not in NO_ANSWERS and fails(r, across) is failing]
    streams = [r for r in found if r["response"]["streaming"]]
    return sample(streams, EACH) + sample([r for r in found if not r["response"]["streaming"]], EACH)


def fails(exchange: dict, across: bool) -> bool:
    if exchange["response"]["status"] >= 400 or in_band(exchange) is not None:
        return True
    incomplete = exchange["response"]["streaming"] and not exchange["stream"]["complete"]
    no_answer = across and (failed_choice(exchange) or said(exchange, dialect_of(exchange)) is None)
    return incomplete or no_answer


def dialect_of(exchange: dict) -> str:
    return (
        "anthropic"
        if exchange["api"].endswith(("anthropic.messages", "anthropic_messages"))
        else "openai_chat"
    )


# ---------------------------------------------------------------- asking as the clients do


def ask(client, dialect: str, body: dict) -> Told:
    """The text and tool calls that the client tells of an answer."""
    if dialect == "openai_chat":
        return ask_chat(client, dict(body))
    return ask_messages(client, dict(body))


def ask_chat(client: openai.OpenAI, body: dict) -> Told:
    stream, model, messages = body.pop("stream", None), body.pop("model"), body.pop("messages")
    answer = client.chat.completions.create(
        model=model, messages=messages, stream=bool(stream), extra_body=body
    )
    if not stream:
        message = answer.choices[0].message if answer.choices else None
        return tell_chat(message) if message else ("", [])
    text, calls = "", []
    for piece in answer:
        for choice in piece.choices or []:
            if choice.index == 0 and choice.delta:
                text += tell_chat(choice.delta)[0]
                hear_calls(calls, choice.delta)
    return text, [(name, canonical(arguments)) for _, name, arguments in calls]


def hear_calls(calls: list[list], delta) -> None:
    for call in delta.tool_calls or []:
        if not calls or (call.id and call.id != calls[-1][0]) or call.index is None:
            calls.append([call.id, "", ""])
        calls[-1][1] += (call.function.name or "") if not calls[-1][1] else ""
        calls[-1][2] += call.function.arguments or ""


def tell_chat(message) -> Told:
    text = (message.content if isinstance(message.content, str) else "") or ""
    calls = [call for call in message.tool_calls or [] if call.type == "function"]
    told = [(call.function.name, canonical(call.function.arguments)) for call in calls]
    return text + (getattr(message, "refusal", None) or ""), told


def ask_messages(client: anthropic.Anthropic, body: dict) -> Told:
    stream, known = (
        body.pop("stream", None),
        {n: body.pop(n, None) for n in ("model", "max_tokens", "messages")},
    )
    known["max_tokens"] = known["max_tokens"] or 4096
    if not stream:
        return tell_message(client.messages.create(**known, extra_body=body))
    with client.messages.stream(**known, extra_body=body) as events:
        return tell_message(events.get_final_message())


def tell_message(message) -> Told:
    text = "".join([block.text for block in message.content if block.type == "text"])
    return text, [(b.name, canonical(b.input)) for b in message.content if b.type == "tool_use"]


# ---------------------------------------------------------------- at home


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_official_client_reads_every_sampled_answer(stage, dialect):
    replay, clients = stage
    found, wrong = sampled(dialect, failing=False), []
    for exchange in found:
        replay.show(exchange)
        try:
            ask(clients[dialect], dialect, replaying.request(exchange, dialect))
        except Exception as refusal:
            wrong.append(f"{exchange['id']} {refusal!r:.300}")
    assert wrong == [], "\n".join(wrong)
    report(f"{dialect} read by its client", found)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_official_client_raises_for_every_sampled_failure(stage, dialect):
    replay, clients = stage
    found, wrong = sampled(dialect, failing=True), []
    for exchange in found:
        replay.show(exchange)
        try:
            ask(clients[dialect], dialect, replaying.request(exchange, dialect))
        except (openai.APIError, anthropic.APIError):
            continue
        wrong.append(exchange["id"])
    assert wrong == [], "\n".join(wrong)
    report(f"{dialect} raised by its client", found)


# ---------------------------------------------------------------- across


@pytest.mark.parametrize(("source", "caller"), [DIALECTS, DIALECTS[::-1]])
def test_a_caller_of_the_other_dialect_is_told_the_same_text_and_calls(stage, source, caller):
    replay, clients = stage
    found, wrong = sampled(source, failing=False, across=True), []
    for exchange in found:
        replay.show(exchange)
        told = said(exchange, source)
        try:
            heard = ask(clients[caller], caller, replaying.crossing(exchange, source))
        except Exception as refusal:
            heard = f"{refusal!r:.300}"
        if heard != told:
            wrong.append(f"{exchange['id']}\n   {told!r:.700}\n   {heard!r:.700}")
    assert wrong == [], "\n".join(wrong)
    report(f"{source} told to a caller of {caller}", found)


@pytest.mark.parametrize(("source", "caller"), [DIALECTS, DIALECTS[::-1]])
def test_a_caller_of_the_other_dialect_hears_every_failure(stage, source, caller):
    replay, clients = stage
    found, wrong = sampled(source, failing=True, across=True), []
    for exchange in found:
        replay.show(exchange)
        try:
            ask(clients[caller], caller, replaying.crossing(exchange, source))
            wrong.append(exchange["id"])
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            status = exchange["response"]["status"]
            if status >= 400 and error.status_code != status:
                wrong.append(f"{exchange['id']} {status} became {error.status_code}")
        except (openai.APIError, anthropic.APIError):
            continue
    assert wrong == [], "\n".join(wrong)
    report(f"{source} failures told to a caller of {caller}", found)


@pytest.mark.parametrize(("caller", "target"), [DIALECTS, DIALECTS[::-1]])
def test_a_recorded_request_crosses_or_is_refused_for_what_the_other_dialect_cannot_carry(
    tmp_path_factory, caller, target
):
    """No provider is asked for what is refused, and the refusal names a part of the conversation."""
    asked = [r for r in exchanges(caller) if r["request"].get("json") and r["id"] not in NO_ANSWERS]
    found, wrong, refused = sample(asked, 2 * EACH), [], 0
    body = CHAT if target == "openai_chat" else MESSAGE
    with Provider(lambda sent: answer_either(sent, body)(sent)) as server:
        rows = {"replay": provider(server.url, target), "replay-messages": provider(server.url, target)}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            for exchange in found:
                server.asked.clear()
                answer = torana.ask("POST", PATH[caller], replaying.request(exchange, caller))
                if answer.status == 200 and len(server.asked) == 1:
                    continue
                refused += 1
                if not is_refusal(answer, server.asked):
                    wrong.append(f"{exchange['id']} {answer.status} {answer.body[:300]!r}")
    assert wrong == [], "\n".join(wrong)
    report(f"{caller} requests to {target}, {refused} refused", found)


def answer_either(sent, body: dict):
    stream = CHAT_STREAM if body is CHAT else MESSAGE_STREAM
    return events(*stream) if sent.json.get("stream") else reply(body)


CANNOT = (
    "take no audio",
    "take no video",
    "not video/webm",
    "has no hosted tool",
    "another provider ran itself",
)


def is_refusal(answer, asked: list) -> bool:
    """A reason we know to be true, in the caller's dialect; Anthropic's has no place for the code."""
    error = answer.json["error"]
    code = error.get("code", "unsupported_content")
    told = (answer.status, asked, error["type"], code)
    known = any(reason in error["message"] for reason in CANNOT)
    return known and told == (400, [], "invalid_request_error", "unsupported_content")


def report(title: str, passed: list[dict]) -> None:
    TOLD.extend(f"{title:44} {api:44} {count:3}" for api, count in sorted(per_api(passed).items()))


def test_counts(capsys):
    require()
    assert len(TOLD) > 100
    with capsys.disabled():
        print("", *TOLD, sep="\n")
