"""The official OpenAI client, sync and async, whole and streamed, with tools: at home and across."""

import asyncio

import openai
import pytest

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
targets = pytest.mark.parametrize("model", ["mock/gpt-x", "ant/claude-x"])


def client(stage, **more):
    return openai.OpenAI(
        base_url=f"{stage.torana.url}/v1", api_key=stage.key, max_retries=0, timeout=20, **more
    )


def said(text="hi"):
    return [{"role": "user", "content": text}]


@targets
def test_an_answer(stage, model):
    with client(stage) as api:
        answer = api.chat.completions.create(model=model, messages=said())
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello there", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 2)
    assert answer._request_id


@targets
def test_a_stream(stage, model):
    with client(stage) as api:
        chunks = list(
            api.chat.completions.create(
                model=model, messages=said(), stream=True, stream_options={"include_usage": True}
            )
        )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "Hello there"
    assert [c.finish_reason for chunk in chunks for c in chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 11


@targets
def test_an_async_stream(stage, model):
    async def run():
        async with openai.AsyncOpenAI(
            base_url=f"{stage.torana.url}/v1", api_key=stage.key, max_retries=0
        ) as api:
            stream = await api.chat.completions.create(model=model, messages=said(), stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(run()) == "Hello there"


@targets
def test_many_async_calls_at_once(stage, model):
    async def run():
        async with openai.AsyncOpenAI(
            base_url=f"{stage.torana.url}/v1", api_key=stage.key, max_retries=0
        ) as api:
            calls = [api.chat.completions.create(model=model, messages=said(str(n))) for n in range(20)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == ["Hello there"] * 20


@targets
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop(stage, model, stream):
    with client(stage) as api:
        if stream:
            with api.chat.completions.stream(model=model, messages=said(), tools=[TOOL]) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = (
                api.chat.completions.create(model=model, messages=said(), tools=[TOOL]).choices[0].message
            )
        [call] = message.tool_calls
        assert (call.id, call.function.name) == ("call_1", "get_weather")
        assert call.function.arguments.replace(" ", "") == '{"city":"Oslo"}'
        history = [
            *said(),
            message.model_dump(exclude_none=True, exclude={"parsed", "refusal"}),
            {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"},
        ]
        answer = api.chat.completions.create(model=model, messages=history, tools=[TOOL])
    assert answer.choices[0].message.content == "Hello there"


@targets
def test_a_stream_that_breaks_raises(stage, model):
    def read(api):
        for _ in api.chat.completions.create(model=model, messages=said("cut"), stream=True):
            pass

    with client(stage) as api, pytest.raises(openai.APIError):
        read(api)


def test_errors_have_the_clients_types(stage):
    with client(stage) as api:
        with pytest.raises(openai.NotFoundError) as missing:
            api.chat.completions.create(model="nobody-has-it", messages=said())
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError):
            api.chat.completions.create(model="echo", messages=said(), n=0)
    with (
        openai.OpenAI(base_url=f"{stage.torana.url}/v1", api_key="wrong", max_retries=2) as api,
        pytest.raises(openai.AuthenticationError),
    ):
        api.chat.completions.create(model="echo", messages=said())


def test_models_are_listed_and_found(stage):
    with client(stage) as api:
        assert "echo" in [model.id for model in api.models.list()]
        assert api.models.retrieve("echo").owned_by == "echo"


def test_the_client_reads_the_request_id_of_our_ledger(stage):
    with client(stage) as api:
        answer = api.chat.completions.create(model="echo", messages=said())
    assert stage.torana.account_of(answer._request_id)["model"] == "echo"
