"""The recorded traffic, read from ../shared/corpora: the judge of every dialect, never copied into the project.

Missing data fails when CI is set and skips with a visible reason in a stranger's clone."""

import base64
import gzip
import json
import os
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ROOT.parent / "shared" / "corpora"


def require() -> Path:
    """The folder of recordings, or a skip (a failure when CI is set)."""
    if not CORPORA.is_dir():
        reason = f"no recorded traffic at {CORPORA.relative_to(ROOT.parent)} beside the project"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)
    return CORPORA


@cache
def provider(name: str) -> list[dict]:
    with gzip.open(require() / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def providers() -> list[str]:
    return sorted(path.name.removesuffix(".jsonl.gz") for path in require().glob("*.jsonl.gz"))


@cache
def exchanges(dialect: str) -> list[dict]:
    """Every exchange of a dialect, by the name of its api."""
    return [r for name in providers() for r in provider(name) if dialect_of(r["api"]) == dialect]


def dialect_of(api: str) -> str:
    if api in ("cohere.v1.chat", "cohere.v2.chat"):
        return "cohere"
    if api == "ollama.chat":
        return ""  # decided per record: Ollama's own API and its OpenAI-compatible one share the name
    if api.endswith((".messages", "anthropic_messages")):
        return "anthropic"
    if api.endswith(".chat"):
        return "openai_chat"
    return ""


@cache
def by_id() -> dict[str, dict]:
    return {r["id"]: r for name in providers() for r in provider(name)}


def body(message: dict) -> bytes:
    """The body of a request or a response as bytes."""
    if message.get("body_base64"):
        return base64.b64decode(message["body_base64"])
    if message.get("body_text") is not None:
        return message["body_text"].encode()
    return b"" if message.get("json") is None else json.dumps(message["json"]).encode()
