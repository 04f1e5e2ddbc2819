"""What an answer consumed: Anthropic's counts and our disjoint classes, both ways.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance: input_tokens
leaves out what the cache read and wrote; output_tokens includes thinking.
"""

from msgspec import Raw

from torana.dialects.anthropic.wire import NULL, OBJECT, USAGE, UsageFields, said
from torana.errors import UpstreamInvalid
from torana.ir import Usage
from torana.wire.json import encode, read

ZERO = Raw(b"0")


def parse_usage(raw: Raw) -> tuple[Usage | None, str]:
    """The usage and the service tier beside it."""
    if not said(raw):
        return None, ""
    wire, extra = USAGE.read(raw, UpstreamInvalid)
    usage = _classes(wire)
    if extra:
        usage = Usage(
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_1h,
            output=usage.output,
            reasoning=usage.reasoning,
            calls=usage.calls,
            extra=extra,
        )
    return usage, wire.service_tier or ""


def _classes(wire: UsageFields) -> Usage:
    written, hour = wire.cache_creation_input_tokens, 0
    if wire.cache_creation is not None:
        hour = wire.cache_creation.ephemeral_1h_input_tokens or 0
        if written is None:
            written = hour + (wire.cache_creation.ephemeral_5m_input_tokens or 0)
    written = written or 0
    hour = min(hour, written)
    output = wire.output_tokens or 0
    details = wire.output_tokens_details
    thinking = min((details.thinking_tokens or 0) if details is not None else 0, output)
    calls = {
        name.removesuffix("_requests"): count or 0 for name, count in (wire.server_tool_use or {}).items()
    }
    return Usage(
        input=wire.input_tokens or 0,
        cache_read=wire.cache_read_input_tokens or 0,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output - thinking,
        reasoning=thinking,
        calls=calls or None,
    )


def overlay(before: Raw, after: Raw) -> Raw:
    """message_delta laid over message_start field by field. Counts are cumulative, so a later zero is an unsaid
    one: some gateways send zeros for what they told before."""
    if not said(after):
        return before
    if not said(before):
        return after
    merged = read(OBJECT, before, UpstreamInvalid)
    for name, value in read(OBJECT, after, UpstreamInvalid).items():
        if value != NULL and (value != ZERO or name not in merged or merged[name] == NULL):
            merged[name] = value
    return Raw(encode(merged))


def render_usage(usage: Usage | None, tier: str = "", cost: str = "") -> dict[str, object]:
    """`input_tokens` also takes what a provider counted for tools it ran itself: Anthropic has no class for it."""
    usage = usage or Usage()
    fields: dict[str, object] = {
        "input_tokens": usage.input + usage.tool_input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.completion,
    }
    if usage.cache_write or usage.cache_write_1h:
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.calls:
        fields["server_tool_use"] = {f"{name}_requests": count for name, count in usage.calls.items()}
    if tier:
        fields["service_tier"] = tier
    if cost:
        fields["cost"] = Raw(cost.encode())
    return fields | (usage.extra or {})
