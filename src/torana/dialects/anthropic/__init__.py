"""Anthropic Messages: https://platform.claude.com/docs/en/api/messages

Blocks, not messages, carry the meaning here: tool results ride in user turns, thoughts are signed and come back, and
a stream announces every block before it grows. `wire` has the shapes, `blocks` and `settings` read, `spelling`
writes; `adapting`, `turns`, `reasoning` and `tooling` change what another dialect said into what can be said here.
Knows no other dialect.
"""

from torana.dialects.anthropic.answers import glance, parse_response, read_response, render_response
from torana.dialects.anthropic.failures import parse_error, render_error, request_id
from torana.dialects.anthropic.renderer import Renderer
from torana.dialects.anthropic.rendering import render_request
from torana.dialects.anthropic.requests import parse_request, path, read_envelope, splice
from torana.dialects.anthropic.stream import Parser
from torana.dialects.anthropic.watch import Watch

__all__ = [
    "Parser",
    "Renderer",
    "Watch",
    "glance",
    "parse_error",
    "parse_request",
    "parse_response",
    "path",
    "read_envelope",
    "read_response",
    "render_error",
    "render_request",
    "render_response",
    "request_id",
    "splice",
]
