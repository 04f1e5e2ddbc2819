"""What Hypothesis draws answers and requests from. Texts are hostile on purpose: quotes, newlines, emoji, controls."""

import json

from hypothesis import strategies as st

from torana import ir

words = st.text(
    alphabet=st.one_of(
        st.sampled_from('abcé"\\\n\r\t {}[]<>😀\u2028\u0000'), st.characters(exclude_categories=["Cs"])
    ),
    min_size=1,
    max_size=24,
)
ids = st.text(alphabet="abcdefghij0123456789", min_size=1, max_size=10)
names = st.text(alphabet="abcdefghij_", min_size=1, max_size=12)
arguments = st.dictionaries(names, st.integers(-(2**31), 2**31) | words, max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":"))
)

texts = words.map(ir.Text)
thoughts = words.map(ir.Thinking)
calls = st.builds(ir.ToolCall, ids, names, arguments)


def apart(parts: list[ir.Part]) -> list[ir.Part]:
    """Neighbouring texts, and neighbouring thoughts, are one on every wire; calls have ids of their own."""
    kept: list[ir.Part] = []
    seen: set[str] = set()
    for part in parts:
        if isinstance(part, ir.ToolCall):
            if part.id in seen:
                continue
            seen.add(part.id)
        elif kept and type(part) is type(kept[-1]):
            continue
        kept.append(part)
    return kept


def in_order(parts: list[ir.Part]) -> list[ir.Part]:
    """Thoughts, then text, then calls: the order in which every dialect can say them."""
    rank = {ir.Thinking: 0, ir.Text: 1, ir.ToolCall: 2}
    return apart(sorted(parts, key=lambda part: rank[type(part)]))


usages = st.builds(
    ir.Usage,
    input=st.integers(0, 99_999),
    cache_read=st.integers(0, 9_999),
    output=st.integers(0, 99_999),
)


@st.composite
def responses(draw, dialect: str = "", ordered: bool = True) -> ir.Response:
    drawn = draw(st.lists(texts | thoughts | calls, min_size=1, max_size=5))
    parts = in_order(drawn) if ordered else apart(drawn)
    called = any(isinstance(part, ir.ToolCall) for part in parts)
    finish = "tool_calls" if called else draw(st.sampled_from(["stop", "length"]))
    return ir.Response(
        dialect=dialect,
        id=draw(ids),
        model=draw(names),
        choices=[ir.Choice(0, parts, finish)],
        usage=draw(usages),
        ended=True,
    )
