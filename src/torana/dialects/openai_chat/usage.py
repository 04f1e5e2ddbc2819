"""Token counts: what each provider calls them, and the disjoint classes they mean. Knows no prices.

https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
Cached tokens are said in six places; the largest is believed. Whether reasoning lies inside completion is read
from the total, not from the provider's name. A part larger than its whole is cut to the whole, and the numbers
as sent stay in `extra`.
"""

from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from torana.dialects.openai_chat.wire import NOTHING, names, object_decoder, present, unknown
from torana.errors import UpstreamInvalid
from torana.ir import Extra, Usage
from torana.wire import json

Count = int | float | None  # whole numbers, whatever a JSON writer makes of them


class Written(Struct):
    write_5m_tokens: Count = None
    write_1h_tokens: Count = None


class Details(Struct):
    cached_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_write_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_write_details: Written | None = None
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None
    video_tokens: Count = None
    accepted_prediction_tokens: Count = None
    rejected_prediction_tokens: Count = None


class ToolUse(Struct):
    web_search_requests: Count = None


class SearchUse(Struct):
    tool_usage: Count = None


class Stated(Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: Details | None = None
    prompt_token_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: Count = None
    prompt_cache_miss_tokens: Count = None
    cached_tokens: Count = None
    num_cached_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    reasoning_tokens: Count = None
    num_search_queries: Count = None
    server_tool_use_details: ToolUse | None = None
    web_search_usage: SearchUse | None = None
    cost: Raw = NOTHING


class Total(Struct):
    total_cost: Raw = NOTHING


_stated = Decoder(Stated)
_total = Decoder(Total)
_NO_DETAILS = Details()

# Fields whose whole meaning is in the classes. The others (details with subsets, call counts) are carried too.
SAID = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
        "completion_tokens_details", "cost",
    }
)  # fmt: skip
INPUTS = (
    ("input.audio", "audio_tokens"),
    ("input.image", "image_tokens"),
    ("input.video", "video_tokens"),
)
OUTPUTS = (
    ("output.audio", "audio_tokens"),
    ("output.image", "image_tokens"),
    ("output.accepted", "accepted_prediction_tokens"),
    ("output.rejected", "rejected_prediction_tokens"),
)
DETAILS = names(Details)


def parse_usage(raw: Raw) -> Usage:
    """The classes, and the fields nobody here understands, for those who send the answer on."""
    said = json.read(_stated, raw, UpstreamInvalid)
    usage = classes(said)
    fields = object_decoder.decode(raw)
    cut = usage.extra is not None
    extra = {name: value for name, value in fields.items() if present(value)} if cut else _extra(fields)
    return replace(usage, extra=extra)


CUT: Extra = {}  # numbers were cut: an empty extra says so to parse_usage


def classes(said: Stated) -> Usage:
    """Prompt and completion alone, as most answers state them, need no comparing."""
    prompt, completion = said.prompt_tokens, said.completion_tokens
    if (
        type(prompt) is not int
        or type(completion) is not int
        or prompt < 0
        or completion < 0
        or said.total_tokens != prompt + completion
        or said != Stated(prompt_tokens=prompt, completion_tokens=completion, total_tokens=said.total_tokens)
    ):
        return _classes(said)
    return Usage(prompt, output=completion, total=prompt + completion)


def _classes(said: Stated) -> Usage:
    before = said.prompt_tokens_details or said.prompt_token_details or _NO_DETAILS
    after = said.completion_tokens_details or _NO_DETAILS
    prompt = max(int(said.prompt_tokens or 0), 0)
    completion = max(int(said.completion_tokens or 0), 0)
    total = None if said.total_tokens is None else int(said.total_tokens)
    read, write, write_1h = _cached(said, before)
    reasoning = int(max(after.reasoning_tokens or 0, said.reasoning_tokens or 0, 0))
    beside = reasoning > 0 and total == prompt + completion + reasoning
    cut = read + write + write_1h > prompt or (reasoning > completion and not beside)
    if cut:
        read = min(read, prompt)
        write = min(write, prompt - read)
        write_1h = min(write_1h, prompt - read - write)
        reasoning = reasoning if beside else min(reasoning, completion)
    whole = prompt + completion + (reasoning if beside else 0)
    if total is not None and total < whole:
        total, cut = None, True  # a total that its own parts exceed says nothing
    return Usage(
        prompt - read - write - write_1h,
        read,
        write,
        write_1h,
        0,
        completion if beside else completion - reasoning,
        reasoning,
        0 if total is None else total - whole,
        total,
        _subsets(before, after),
        _calls(said),
        _cost(said.cost) if said.cost else "",
        extra=CUT if cut else None,
    )


def _cached(said: Stated, details: Details) -> tuple[int, int, int]:
    read = max(
        details.cached_tokens or 0,
        details.cache_read_input_tokens or 0,
        said.prompt_cache_hit_tokens or 0,
        said.cached_tokens or 0,
        said.num_cached_tokens or 0,
        said.cache_read_input_tokens or 0,
    )
    write = max(
        details.cache_write_tokens or 0,
        details.cache_creation_input_tokens or 0,
        said.cache_creation_input_tokens or 0,
    )
    if details.cache_write_details is None:
        return int(read), int(write), 0
    held = int(details.cache_write_details.write_1h_tokens or 0)
    return int(read), max(int(write) - held, 0), held


def _subsets(before: Details, after: Details) -> dict[str, int] | None:
    found = {}
    if before.audio_tokens or before.image_tokens or before.video_tokens:
        found = {name: int(count) for name, field in INPUTS if (count := getattr(before, field))}
    if (
        after.audio_tokens
        or after.image_tokens
        or after.accepted_prediction_tokens
        or after.rejected_prediction_tokens
    ):
        found |= {name: int(count) for name, field in OUTPUTS if (count := getattr(after, field))}
    return found or None


def _calls(said: Stated) -> dict[str, int] | None:
    searches = said.num_search_queries or 0
    if said.server_tool_use_details is not None:
        searches = max(searches, said.server_tool_use_details.web_search_requests or 0)
    if said.web_search_usage is not None:
        searches = max(searches, said.web_search_usage.tool_usage or 0)
    return {"web_search": int(searches)} if searches else None


def _cost(raw: Raw) -> str:
    """Decimal text as sent. Perplexity sends an object of parts and a total."""
    text = bytes(raw)
    if text[:1] == b"{":
        text = bytes(json.read(_total, raw, UpstreamInvalid).total_cost)
    text = text.strip(b'"')
    return text.decode() if text[:1].isdigit() else ""


def _extra(fields: dict[str, Raw]) -> Extra:
    extra = unknown(fields, SAID)
    if (cost := fields.get("cost")) is not None and bytes(cost)[:1] == b"{":
        extra = {**(extra or {}), "cost": cost}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        inner = fields.get(name, NOTHING)
        if present(inner) and (left := unknown(object_decoder.decode(inner), DETAILS)):
            extra = {**(extra or {}), name: Raw(json.encode(left))}
    return extra


def render_usage(usage: Usage, *, home: bool, cost: str = "") -> dict[str, object]:
    """`home`: the answer was this dialect's, so its unknown fields go back in."""
    of = usage.of or {}
    prompt, completion = usage.prompt, usage.completion
    before: dict[str, object] = {"cached_tokens": usage.cache_read}
    if written := usage.cache_write + usage.cache_write_1h:
        before["cache_write_tokens"] = written
    if usage.cache_write_1h:
        before["cache_write_details"] = {
            "write_5m_tokens": usage.cache_write,
            "write_1h_tokens": usage.cache_write_1h,
        }
    after: dict[str, object] = {"reasoning_tokens": usage.reasoning}
    before |= {field: of[name] for name, field in INPUTS if name in of}
    after |= {field: of[name] for name, field in OUTPUTS if name in of}
    body: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion + usage.other,
        "prompt_tokens_details": before,
        "completion_tokens_details": after,
    }
    if home and usage.extra:
        _fill(body, usage.extra)
    if price := cost or usage.cost:
        body["cost"] = Raw(price.encode())
    return body


def _fill(body: dict[str, object], extra: dict[str, Raw]) -> None:
    """Unknown fields beside ours; where ours and theirs differ, ours are the ones that add up."""
    for name, raw in extra.items():
        mine = body.get(name)
        if mine is None:
            body[name] = raw
        elif isinstance(mine, dict):
            for inner, value in object_decoder.decode(raw).items():
                mine.setdefault(inner, value)
