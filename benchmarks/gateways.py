"""How each gateway is started and asked: one row each, Torana first. All of them stand before the same mock.

A gateway is configured as its own documentation says, with as few features as it allows; where it can check a
key it checks one. Knows nothing of how a leg is measured.
"""

import json
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import bodies
from benchmarks.load import request_bytes
from benchmarks.upstream import HOST

HERE = Path(__file__).parent
PEERS = HERE / "out" / "peers"
KEY = "sk-torana-bench-2f6c1d7e9b0a4c53"
_PROVIDER_KEY = "sk-mock-bench"

RELAY, TO_ANTHROPIC, TO_CHAT = "chat -> chat", "chat -> anthropic", "anthropic -> chat"


@dataclass(frozen=True)
class Leg:
    """A crossing: the caller's wire, the model that leads to the target, and what the request carries."""

    crossing: str
    model: str
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": f"Bearer {KEY}"})

    def request(self, *, stream: bool) -> bytes:
        body = bodies.messages_request if self.crossing == TO_CHAT else bodies.chat_request
        return request_bytes(self.path, self.headers, body(self.model, stream=stream))


@dataclass(frozen=True)
class Launch:
    """`port` 0: the gateway chooses one and prints its address to the log."""

    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gateway:
    name: str
    language: str
    features: str  # what is on while it is measured
    program: Path  # exists if it is installed
    launch: Callable[[Path, int, int], Launch]  # directory for its files, its port, the mock's port
    legs: Callable[[int], list[Leg]]  # the mock's port
    health: str  # a path that answers `health_status` as soon as requests can be answered
    version: Callable[[], str]
    health_status: int = 200
    streams: int = 1000  # open at once; fewer for one that would take minutes
    paced: bool = True  # able to answer 1,000 requests a second on one core


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _pinned(package: str) -> Callable[[], str]:
    def version() -> str:
        pins = (HERE / "peers" / "versions.txt").read_text()
        found = re.search(rf"^\w+ @?{re.escape(package)}\S* (\S+)$", pins, re.MULTILINE)
        return found[1] if found else "unpinned"

    return version


def _simple_legs(_: int) -> list[Leg]:
    return [Leg(RELAY, "bench-chat"), Leg(TO_ANTHROPIC, "bench-ant")]


# ---------------------------------------------------------------- Torana


def _torana_launch(directory: Path, port: int, mock: int) -> Launch:
    config = {  # JSON is YAML
        "server": {"host": HOST, "port": port},
        "store": {"url": f"sqlite:///{directory}/bench.db"},
        "keys": [{"name": "bench", "secret": KEY}],
        "providers": {
            "mock": {
                "dialect": "openai_chat",
                "base_url": f"http://{HOST}:{mock}/v1",
                "api_key": _PROVIDER_KEY,
            },
            "mockant": {
                "dialect": "anthropic",
                "base_url": f"http://{HOST}:{mock}/v1",
                "api_key": _PROVIDER_KEY,
            },
        },
        "models": {
            "bench-chat": {"targets": ["mock/gpt-bench"]},
            "bench-ant": {"targets": ["mockant/claude-bench"]},
        },
    }
    file = directory / "bench.yaml"
    file.write_text(json.dumps(config, indent=2))
    program = str(Path(sys.executable).parent / "torana")
    return Launch([program, "serve", "--config", str(file), "--port", str(port)], port)


def _torana_legs(_: int) -> list[Leg]:
    return [
        Leg(RELAY, "bench-chat"),
        Leg(TO_ANTHROPIC, "bench-ant"),
        Leg(TO_CHAT, "bench-chat", "/v1/messages", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
    ]


def _torana_version() -> str:
    from torana import __version__

    return __version__


# ---------------------------------------------------------------- LiteLLM


def _litellm_launch(directory: Path, port: int, mock: int) -> Launch:
    config = {
        "model_list": [
            {
                "model_name": "bench-chat",
                "litellm_params": {
                    "model": "openai/gpt-bench",
                    "api_base": f"http://{HOST}:{mock}/v1",
                    "api_key": _PROVIDER_KEY,
                },
            },
            {
                "model_name": "bench-ant",
                "litellm_params": {
                    "model": "anthropic/claude-bench",
                    "api_base": f"http://{HOST}:{mock}",
                    "api_key": _PROVIDER_KEY,
                },
            },
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    file = directory / "litellm.yaml"
    file.write_text(json.dumps(config, indent=2))
    program = str(PEERS / "litellm" / "bin" / "litellm")
    command = [program, "--config", str(file), "--host", HOST, "--port", str(port), "--num_workers", "1"]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    return Launch(command, port, quiet)


# ---------------------------------------------------------------- Portkey

_PORTKEY = PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _portkey_launch(_directory: Path, port: int, _mock: int) -> Launch:
    return Launch(["node", str(_PORTKEY), f"--port={port}", "--headless"], port)


def _portkey_legs(mock: int) -> list[Leg]:
    def headers(provider: str) -> dict[str, str]:
        return {
            "authorization": f"Bearer {_PROVIDER_KEY}",
            "x-portkey-provider": provider,
            "x-portkey-custom-host": f"http://{HOST}:{mock}/v1",
        }

    return [
        Leg(RELAY, "gpt-bench", headers=headers("openai")),
        Leg(TO_ANTHROPIC, "claude-bench", headers=headers("anthropic")),
    ]


# ---------------------------------------------------------------- TensorZero


def _tensorzero_launch(directory: Path, _port: int, mock: int) -> Launch:
    def model(name: str, kind: str, target: str) -> str:
        return (
            f'[models.{name}]\nrouting = ["mock"]\n[models.{name}.providers.mock]\ntype = "{kind}"\n'
            f'model_name = "{target}"\napi_base = "http://{HOST}:{mock}/v1/"\n'
            'api_key_location = "env::MOCK_KEY"\n'
        )

    file = directory / "tensorzero.toml"
    file.write_text(
        "[gateway]\nobservability.enabled = false\ndisable_pseudonymous_usage_analytics = true\n"
        + model("bench-chat", "openai", "gpt-bench")
        + model("bench-ant", "anthropic", "claude-bench")
    )
    program = str(PEERS / "tensorzero" / "bin" / "python")
    command = [program, str(HERE / "peers" / "tensorzero_gateway.py"), str(file)]
    return Launch(command, 0, {"MOCK_KEY": _PROVIDER_KEY, "RUST_LOG": "error"})


def _tensorzero_legs(_: int) -> list[Leg]:
    path = "/openai/v1/chat/completions"
    return [
        Leg(RELAY, "tensorzero::model_name::bench-chat", path),
        Leg(TO_ANTHROPIC, "tensorzero::model_name::bench-ant", path),
    ]


# ---------------------------------------------------------------- SMG


def _smg_launch(_directory: Path, port: int, mock: int) -> Launch:
    command = [str(PEERS / "smg" / "bin" / "smg"), "launch", "--host", HOST, "--port", str(port)]
    command += ["--backend", "openai", "--worker-urls", f"http://{HOST}:{mock}", "--api-key", KEY]
    # By default its exporter takes a fixed port on every address.
    command += ["--prometheus-host", HOST, "--prometheus-port", str(free_port())]
    command += ["--history-backend", "none", "--log-level", "error"]
    # Measured: its default, cache-aware routing with retries, breakers and probes, costs a tenth more.
    command += ["--policy", "round_robin", "--disable-retries", "--disable-circuit-breaker"]
    command += ["--disable-load-monitoring", "--disable-health-check"]
    return Launch(command, port)


def _smg_legs(_: int) -> list[Leg]:
    return [Leg(RELAY, "gpt-bench")]


TORANA = Gateway(
    name="Torana",
    language="Python",
    features="key, accounting, SQLite ledger",
    program=Path(sys.executable).parent / "torana",
    launch=_torana_launch,
    legs=_torana_legs,
    health="/healthz",
    version=_torana_version,
)
SMG = Gateway(
    name="SMG",
    language="Rust",
    features="key",
    program=PEERS / "smg" / "bin" / "smg",
    launch=_smg_launch,
    legs=_smg_legs,
    health="/health",
    version=_pinned("smg"),
)
TENSORZERO = Gateway(
    name="TensorZero",
    language="Rust",
    features="no key, observability off",
    program=PEERS / "tensorzero" / "bin" / "python",
    launch=_tensorzero_launch,
    legs=_tensorzero_legs,
    health="/health",
    health_status=404,  # started from its library it serves the OpenAI paths and nothing else
    version=_pinned("tensorzero"),
)
PORTKEY = Gateway(
    name="Portkey",
    language="Node",
    features="no key",
    program=_PORTKEY,
    launch=_portkey_launch,
    legs=_portkey_legs,
    health="/",
    version=_pinned("portkey-ai/gateway"),
    streams=200,
    paced=False,
)
LITELLM = Gateway(
    name="LiteLLM",
    language="Python",
    features="key, no database",
    program=PEERS / "litellm" / "bin" / "litellm",
    launch=_litellm_launch,
    legs=_simple_legs,
    health="/health/liveliness",
    version=_pinned("litellm"),
    streams=64,
    paced=False,
)
ALL = (TORANA, SMG, TENSORZERO, PORTKEY, LITELLM)
