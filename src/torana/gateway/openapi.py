"""Our API as an OpenAPI 3.1 document, built from the surface table.

Bodies are described as far as this gateway reads them. `additionalProperties` stays true on purpose: fields we do
not know are carried to a provider of the same dialect.
"""

from typing import Any

from torana import __version__
from torana.call import Surface
from torana.surfaces import TABLE
from torana.wire import json

Object = dict[str, Any]  # JSON Schema and OpenAPI objects

ANY_OBJECT: Object = {"type": "object"}
STRING: Object = {"type": "string"}
TEXT: Object = {"type": ["string", "null"]}
OBJECT: Object = {"type": ["object", "null"]}
BOOLEAN: Object = {"type": ["boolean", "null"]}
NUMBER: Object = {"type": ["number", "null"]}
COUNT: Object = {"type": ["integer", "null"], "minimum": 0, "maximum": 2**31}
NULL: Object = {"type": "null"}


def _list(items: Object) -> Object:
    return {"type": "array", "items": items}


def _either(*schemas: Object) -> Object:
    return {"anyOf": list(schemas)}


def _ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


MODEL: Object = {"type": "string", "minLength": 1, "maxLength": 512, "description": "docs/routing.md"}
CHAT_REQUEST: Object = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": MODEL,
        "messages": {**_list(_ref("ChatMessage")), "maxItems": 10_000},
        "stream": BOOLEAN,
        "stream_options": {**OBJECT, "properties": {"include_usage": BOOLEAN}},
        "max_tokens": COUNT,
        "max_completion_tokens": COUNT,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
        "stop": _either(STRING, {**_list(STRING), "maxItems": 512}, NULL),
        "seed": NUMBER,
        "frequency_penalty": NUMBER,
        "presence_penalty": NUMBER,
        "logprobs": {"type": ["boolean", "integer", "null"], "minimum": 0, "maximum": 20},
        "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
        "tools": _either({**_list(_ref("ChatTool")), "maxItems": 512}, NULL),
        "tool_choice": {
            "type": ["string", "object", "null"],
            "description": "auto, none, required, or one by name",
        },
        "parallel_tool_calls": BOOLEAN,
        "response_format": {**OBJECT, "required": ["type"], "properties": {"type": STRING}},
        "reasoning_effort": TEXT,
        "user": TEXT,
        "metadata": OBJECT,
    },
}
CHAT_MESSAGE: Object = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": _either(STRING, _list(_either(STRING, _ref("ChatPart"))), _ref("ChatPart"), NULL),
        "name": TEXT,
        "tool_call_id": TEXT,
        "tool_calls": _either(_list(_ref("ChatCall")), NULL),
    },
}
CHAT_PART: Object = {
    "type": "object",
    "description": "By type: text, image_url, input_audio, file, refusal; others are carried to a like provider",
    "properties": {
        "type": STRING,
        "text": TEXT,
        "image_url": {"type": ["object", "string", "null"], "properties": {"url": STRING, "detail": TEXT}},
    },
}
CHAT_CALL: Object = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "type": TEXT,
        "function": {
            **OBJECT,
            "properties": {"name": TEXT, "arguments": {"type": ["string", "object", "null"]}},
        },
    },
}
CHAT_TOOL: Object = {
    "type": "object",
    "description": "By type: function, custom; others are carried to a like provider",
    "properties": {
        "type": TEXT,
        "function": {
            **OBJECT,
            "required": ["name"],
            "properties": {"name": STRING, "description": TEXT, "parameters": OBJECT, "strict": BOOLEAN},
        },
    },
}
CHAT_ANSWER: Object = {
    "type": "object",
    "required": ["id", "object", "model", "choices"],
    "properties": {
        "id": STRING,
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": STRING,
        "choices": _list({"type": "object", "required": ["index", "message", "finish_reason"]}),
        "usage": ANY_OBJECT,
    },
}
MESSAGES_REQUEST: Object = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": MODEL,
        "messages": {**_list(_ref("Turn")), "maxItems": 10_000},
        "max_tokens": {**COUNT, "description": "Anthropic refuses a request without it; others do not"},
        "system": _either(STRING, _list(_ref("Block")), NULL),
        "stream": BOOLEAN,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "top_k": NUMBER,
        "stop_sequences": _either(_list(STRING), NULL),
        "tools": _either({**_list(_ref("Tool")), "maxItems": 512}, NULL),
        "tool_choice": {**OBJECT, "required": ["type"], "properties": {"type": STRING}},
        "thinking": {**OBJECT, "required": ["type"], "properties": {"type": STRING}},
        "metadata": {**OBJECT, "properties": {"user_id": TEXT}},
    },
}
TURN: Object = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["user", "assistant", "system"]},
        "content": _either(STRING, _list(_ref("Block"))),
    },
}
BLOCK: Object = {"type": "object", "required": ["type"], "properties": {"type": STRING, "text": TEXT}}
TOOL: Object = {
    "type": "object",
    "description": "One of the caller's own by name, or one of the provider's by type",
    "properties": {"type": TEXT, "name": TEXT, "description": TEXT, "input_schema": OBJECT},
}
MESSAGE: Object = {
    "type": "object",
    "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
    "properties": {
        "id": STRING,
        "type": {"const": "message"},
        "content": _list(ANY_OBJECT),
        "usage": ANY_OBJECT,
    },
}
OPENAI_ERROR: Object = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": STRING},
        }
    },
}
ANTHROPIC_ERROR: Object = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": STRING, "message": STRING},
        },
    },
}
SCHEMAS: Object = {
    "ChatRequest": CHAT_REQUEST,
    "ChatMessage": CHAT_MESSAGE,
    "ChatPart": CHAT_PART,
    "ChatCall": CHAT_CALL,
    "ChatTool": CHAT_TOOL,
    "ChatAnswer": CHAT_ANSWER,
    "MessagesRequest": MESSAGES_REQUEST,
    "Turn": TURN,
    "Block": BLOCK,
    "Tool": TOOL,
    "Message": MESSAGE,
    "OpenAIError": OPENAI_ERROR,
    "AnthropicError": ANTHROPIC_ERROR,
}
BODIES = {"openai_chat": ("ChatRequest", "ChatAnswer"), "anthropic": ("MessagesRequest", "Message")}
ERRORS = {"openai_chat": "OpenAIError", "anthropic": "AnthropicError"}


def render() -> bytes:
    return json.encode(document())


def document() -> Object:
    """The whole document."""
    paths: Object = {}
    for row in TABLE:
        methods = {method.lower(): _operation(row, method) for method in row.methods}
        paths[row.path] = methods | ({"parameters": [_id(row)]} if "{id}" in row.path else {})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Torana", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"bearer": []}, {"x-api-key": []}],
    }


def _id(row: Surface) -> Object:
    kind = "model" if row.operation == "model" else "call"
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        "description": f"The id of a {kind}.",
    }


def _operation(row: Surface, method: str) -> Object:
    told: Object = {
        "summary": row.summary,
        "operationId": f"{method.lower()}{row.path.replace('/', '_')}",
        "responses": {"200": _success(row, method), "default": _failure(row, method)},
    }
    if row.public:
        told["security"] = []
    if row.operation == "converse":
        schema = _ref(BODIES[row.dialect][0])
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return told


def _success(row: Surface, method: str) -> Object:
    if method == "HEAD":
        return {"description": "As GET, without a body"}
    if row.operation == "metrics":
        return {"description": "Metrics", "content": {"text/plain": {"schema": STRING}}}
    schema = _ref(BODIES[row.dialect][1]) if row.operation == "converse" else ANY_OBJECT
    content: Object = {"application/json": {"schema": schema}}
    if row.operation == "converse":
        content["text/event-stream"] = {"schema": STRING}
    return {"description": "The answer", "content": content}


def _failure(row: Surface, method: str) -> Object:
    told: Object = {"description": "An error in the caller's dialect; see docs/errors.md"}
    if method != "HEAD":
        told["content"] = {"application/json": {"schema": _ref(ERRORS[row.dialect])}}
    return told
