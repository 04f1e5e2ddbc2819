"""The official Anthropic client, sync and async, whole and streamed, with tools: at home and across."""

import asyncio

import anthropic
import pytest

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
targets = pytest.mark.parametrize("model", ["mock/gpt-x", "ant/claude-x"])


def client(stage, **more):
    return anthropic.Anthropic(
        base_url=stage.torana.url, api_key=stage.key, max_retries=0, timeout=20, **more
    )


def said(text="hi"):
    return [{"role": "user", "content": text}]


@targets
def test_an_answer(stage, model):
    with client(stage) as api:
        answer = api.messages.create(model=model, max_tokens=50, messages=said())
    assert (answer.content[0].text, answer.stop_reason) == ("Hello there", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 2)
    assert answer._request_id


@targets
def test_a_stream(stage, model):
    with client(stage) as api, api.messages.stream(model=model, max_tokens=50, messages=said()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert (text, final.stop_reason) == ("Hello there", "end_turn")
    assert final.usage.output_tokens == 2


@targets
def test_an_async_stream(stage, model):
    async def run():
        async with (
            anthropic.AsyncAnthropic(base_url=stage.torana.url, api_key=stage.key, max_retries=0) as api,
            api.messages.stream(model=model, max_tokens=50, messages=said()) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(run()) == "Hello there"


@targets
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop(stage, model, stream):
    asked = {"model": model, "max_tokens": 50, "tools": [TOOL]}
    with client(stage) as api:
        if stream:
            with api.messages.stream(messages=said(), **asked) as events:
                message = events.get_final_message()
        else:
            message = api.messages.create(messages=said(), **asked)
        [use] = [block for block in message.content if block.type == "tool_use"]
        assert (use.id, use.name, use.input) == ("call_1", "get_weather", {"city": "Oslo"})
        assert message.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "12 degrees"}
        history = [
            *said(),
            {"role": "assistant", "content": [use.model_dump(exclude_none=True)]},
            {"role": "user", "content": [result]},
        ]
        answer = api.messages.create(messages=history, **asked)
    assert answer.content[0].text == "Hello there"


@targets
def test_a_stream_that_breaks_raises(stage, model):
    with client(stage) as api, pytest.raises(anthropic.APIError):  # noqa: SIM117
        with api.messages.stream(model=model, max_tokens=50, messages=said("cut")) as stream:
            stream.get_final_message()


def test_errors_have_the_clients_types(stage):
    with client(stage) as api:
        with pytest.raises(anthropic.NotFoundError):
            api.messages.create(model="nobody-has-it", max_tokens=5, messages=said())
        with pytest.raises(anthropic.BadRequestError):
            api.messages.create(model="echo", max_tokens=-5, messages=said())
    with (
        anthropic.Anthropic(base_url=stage.torana.url, api_key="wrong", max_retries=2) as api,
        pytest.raises(anthropic.AuthenticationError),
    ):
        api.messages.create(model="echo", max_tokens=5, messages=said())


def test_models_are_listed_in_anthropics_shape(stage):
    with client(stage) as api:
        assert "echo" in [model.id for model in api.models.list(limit=1000)]
        assert api.models.retrieve("echo").type == "model"


def test_a_base_url_with_v1_works_too(stage):
    with anthropic.Anthropic(base_url=f"{stage.torana.url}/v1", api_key=stage.key, max_retries=0) as api:
        assert api.messages.create(model="echo", max_tokens=50, messages=said()).content[0].text == "hi"
