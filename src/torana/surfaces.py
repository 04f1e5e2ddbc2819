"""The caller's path: which operation it asks for, which dialect it speaks, where its credentials may stand.

One table. Everything that needs to know a path reads it here: the gateway, the error renderer of the HTTP
server, the OpenAPI document and the docs check.
"""

from torana.call import Surface
from torana.errors import MethodNotAllowed, NotFound

BODY_BYTES_MAX = 64 * 1024 * 1024
# A conversation with inline PDFs and images; Anthropic takes 32 MB, Gemini 100 MB with inline files at 20 MB.


CHAT = "Create a chat completion, streamed or not"
MESSAGES = "Create a message, streamed or not"
TABLE: tuple[Surface, ...] = (
    Surface("/v1/chat/completions", ("POST",), "converse", "openai_chat", CHAT),
    Surface("/chat/completions", ("POST",), "converse", "openai_chat", CHAT),
    Surface("/v1/messages", ("POST",), "converse", "anthropic", MESSAGES),
    # People put /v1 into ANTHROPIC_BASE_URL, and the client adds its own.
    Surface("/v1/v1/messages", ("POST",), "converse", "anthropic", MESSAGES),
    Surface("/v1/models", ("GET", "HEAD"), "models", summary="List the models this key can use"),
    Surface("/v1/models/{id}", ("GET", "HEAD"), "model", summary="One model"),
    Surface("/v1/calls/{id}", ("GET", "HEAD"), "call", summary="What became of a call this key made"),
    Surface("/healthz", ("GET", "HEAD"), "healthy", summary="Alive", public=True),
    Surface("/health", ("GET", "HEAD"), "healthy", summary="Alive", public=True),
    Surface("/health/liveliness", ("GET", "HEAD"), "healthy", summary="Alive", public=True),
    Surface("/readyz", ("GET", "HEAD"), "ready", summary="Ready for calls", public=True),
    Surface("/health/readiness", ("GET", "HEAD"), "ready", summary="Ready for calls", public=True),
    Surface("/", ("GET", "HEAD"), "hello", summary="What answers here", public=True),
    Surface("/api/hello", ("GET", "HEAD"), "hello", summary="What answers here", public=True),
    Surface("/metrics", ("GET", "HEAD"), "metrics", summary="Prometheus metrics; needs a key off loopback"),
    Surface("/openapi.json", ("GET", "HEAD"), "openapi", summary="This API", public=True),
)
ADMIN = Surface("/admin/", ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"), "admin", public=True)
# public: the control plane has an authorisation of its own

_EXACT = {row.path: row for row in TABLE if "{id}" not in row.path}
_PREFIX = tuple((row.path.removesuffix("{id}"), row) for row in TABLE if "{id}" in row.path)


def find(method: str, path: str) -> Surface:
    """The row of a path. Raises NotFound or MethodNotAllowed; ids may hold `/`, as model names do."""
    row = _EXACT.get(path)
    if row is None:
        row = _by_prefix(path)
    if method not in row.methods:
        error = MethodNotAllowed(f"{path} takes {' or '.join(row.methods)}, not {method}")
        error.allow = row.methods
        raise error
    return row


def _by_prefix(path: str) -> Surface:
    if path.startswith(ADMIN.path):
        return ADMIN
    for prefix, row in _PREFIX:
        if path.startswith(prefix) and len(path) > len(prefix):
            return Surface(
                row.path,
                row.methods,
                row.operation,
                row.dialect,
                row.summary,
                row.public,
                path[len(prefix) :],
            )
    if path.endswith("/") and path.rstrip("/") in _EXACT:
        raise NotFound(f"no such path {path!r}; did you mean {path.rstrip('/')!r}?")
    raise NotFound(f"no such path {path!r}; this gateway's paths are listed at /openapi.json")


def error_dialect(path: str, headers: dict[bytes, bytes]) -> str:
    """Whose error shape a caller understands, also where no row matched."""
    if path.startswith(("/v1/messages", "/v1/v1/messages")):
        return "anthropic"
    if b"anthropic-version" in headers and not path.startswith("/v1/chat"):
        return "anthropic"
    return "openai_chat"
