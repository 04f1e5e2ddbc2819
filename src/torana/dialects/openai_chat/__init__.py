"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat

The lingua franca: most providers speak it, each with an accent. How one provider differs is data
(records.Accent), never a subclass of anything here. This module is the dialect; the files beside it are one
question each: what is asked (read_request, write_request), what is said (read_answer, write_answer, watch), what
went wrong (failures).
"""

from torana.dialects.openai_chat.failures import parse_error, render_error
from torana.dialects.openai_chat.read_answer import Parser, parse_response, read_response
from torana.dialects.openai_chat.read_request import parse_request, read_envelope, splice
from torana.dialects.openai_chat.renderer import Renderer
from torana.dialects.openai_chat.watch import Watch, glance
from torana.dialects.openai_chat.write_answer import render_response
from torana.dialects.openai_chat.write_request import path, render_request

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
    "splice",
]
