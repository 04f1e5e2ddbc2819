"""A gateway in front of two scripted providers: `mock` speaks Chat Completions, `ant` speaks Messages."""

from types import SimpleNamespace

import pytest

from provider import CHAT, MESSAGE, Provider, reply
from running import Running, provider


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """`stage.mock.script` and `stage.ant.script` are set by each test; both keep their own count."""
    folder = tmp_path_factory.mktemp("torana")
    with Provider(reply(CHAT)) as mock, Provider(reply(MESSAGE)) as ant:
        providers = {"mock": provider(mock.url), "ant": provider(ant.url, "anthropic", auth="x-api-key")}
        with Running(folder, providers=providers) as torana:
            yield SimpleNamespace(torana=torana, mock=mock, ant=ant)


@pytest.fixture(autouse=True)
def fresh(request):
    """Every test begins with providers that answer well and have been asked nothing."""
    if "stage" in request.fixturenames:
        stage = request.getfixturevalue("stage")
        stage.mock.script, stage.ant.script = reply(CHAT), reply(MESSAGE)
        stage.mock.asked.clear()
        stage.ant.asked.clear()
