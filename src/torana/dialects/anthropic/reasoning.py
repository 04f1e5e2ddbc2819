"""How hard to think, and what else has to give way for it.

https://platform.claude.com/docs/en/build-with-claude/extended-thinking and .../adaptive-thinking, .../effort. A
model thinks by a budget of tokens or adaptively by an effort; which, the target's traits say.
"""

from types import MappingProxyType

from torana.dialects.anthropic.draft import Draft
from torana.dialects.anthropic.settings import SHOW
from torana.dialects.anthropic.wire import Number
from torana.ir import Reasoning

BUDGET_TOKENS_MIN = 1024  # "The minimum budget is 1,024 tokens"
MAX_TOKENS_DEFAULT = 4096
# Anthropic refuses a request without max_tokens. Every Messages model allows as many; a model whose own maximum is
# known gets that. It is also the room an answer is given beside a thinking budget.
BUDGETS: MappingProxyType[str, int] = MappingProxyType(
    {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
)
EFFORT_DEFAULT = "medium"
EFFORTS: MappingProxyType[str, str] = MappingProxyType(
    {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
)
# `xhigh` exists on some adaptive models only; every one of them has low, medium, high and max
DISPLAYS = MappingProxyType({shown: display for display, shown in SHOW.items()} | {
    "concise": "summarized", "detailed": "summarized", "": "summarized"
})  # fmt: skip
# a caller of another dialect is shown the thoughts unless it said otherwise


def own_reasoning(reasoning: Reasoning | None, body: dict[str, object], output: dict[str, object]) -> None:
    """As it was said in our own dialect."""
    if reasoning is None:
        return
    extra = dict(reasoning.extra or {})
    if reasoning.effort:
        output["effort"] = reasoning.effort
    if "thinking" in extra:
        body["thinking"] = extra["thinking"]
        return
    if reasoning.enabled is None:
        return
    kind = "disabled" if not reasoning.enabled else "adaptive" if reasoning.budget is None else "enabled"
    thinking: dict[str, object] = {"type": kind}
    if reasoning.budget is not None:
        thinking["budget_tokens"] = reasoning.budget
    if reasoning.show:
        thinking["display"] = DISPLAYS[reasoning.show]
    body["thinking"] = thinking | extra


def wanted(reasoning: Reasoning | None) -> bool:
    if reasoning is None or reasoning.enabled is False or reasoning.effort == "none":
        return False
    return bool(reasoning.enabled or reasoning.effort or reasoning.budget)


def adapt_reasoning(draft: Draft, body: dict[str, object], output: dict[str, object], why_not: str) -> None:
    """Set `thinking`, `output_config.effort` and `max_tokens`. `why_not` is what in the request forbids thinking."""
    reasoning, traits = draft.request.reasoning, draft.traits
    body["max_tokens"] = _max_tokens(draft)
    if reasoning is None or not wanted(reasoning):
        if (
            reasoning is not None
            and traits.thinking
            and (reasoning.enabled is False or reasoning.effort == "none")
        ):
            body["thinking"] = {"type": "disabled"}
        return
    for name in reasoning.extra or ():
        draft.lose(f"reasoning.{name}", "Anthropic has no such setting")
    if not traits.thinking or why_not:
        draft.lose("reasoning_effort", why_not or "the model is not known to think")
    elif traits.thinking == "adaptive":
        _adaptive(reasoning, draft, body, output)
    else:
        _budgeted(reasoning, draft, body)


def _max_tokens(draft: Draft) -> int:
    asked, most = draft.request.max_tokens, draft.traits.output_max
    if asked is None:
        return most or MAX_TOKENS_DEFAULT
    if most is not None and asked > most:
        draft.change("max_tokens", f"the model writes at most {most} tokens")
        return most
    return asked


def _adaptive(reasoning: Reasoning, draft: Draft, body: dict[str, object], output: dict[str, object]) -> None:
    body["thinking"] = {"type": "adaptive", "display": DISPLAYS.get(reasoning.show, "summarized")}
    effort = reasoning.effort
    if not effort and reasoning.budget is not None:
        effort = next(
            (name for name in ("low", "medium", "high") if reasoning.budget <= BUDGETS[name]), "max"
        )
        draft.change(
            "reasoning.max_tokens", f"this model takes no thinking budget, so it became effort {effort!r}"
        )
    if effort:
        output["effort"] = EFFORTS.get(effort, effort)
        if output["effort"] != effort:
            draft.change("reasoning_effort", f"{effort!r} became {output['effort']!r}")


def _budgeted(reasoning: Reasoning, draft: Draft, body: dict[str, object]) -> None:
    """A budget lies between its minimum and max_tokens, which the caller may have meant as a limit of cost: it is
    never raised, the budget gives way."""
    asked = reasoning.budget
    if asked is None:
        asked = BUDGETS.get(reasoning.effort or EFFORT_DEFAULT, BUDGETS[EFFORT_DEFAULT])
    budget = max(asked, BUDGET_TOKENS_MIN)
    unsaid = draft.request.max_tokens is None
    room = body["max_tokens"]
    if unsaid and draft.traits.output_max is None:
        room = body["max_tokens"] = budget + MAX_TOKENS_DEFAULT
    if not isinstance(room, int) or room <= BUDGET_TOKENS_MIN:
        draft.lose("reasoning_effort", f"max_tokens leaves no room for a budget of {BUDGET_TOKENS_MIN}")
        return
    if budget >= room:
        budget = max(BUDGET_TOKENS_MIN, room // 2)
    if budget != asked:
        draft.change(
            "reasoning_effort", f"the thinking budget became {budget} tokens, to fit max_tokens {room}"
        )
    if reasoning.show == "none":
        draft.lose("reasoning.summary", "this model's thoughts cannot be left out of the answer")
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def thinks(body: dict[str, object]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


# ---------------------------------------------------------------- sampling


def adapt_sampling(draft: Draft, body: dict[str, object]) -> None:
    """Temperature lies in 0..1 here, and a thinking model's is 1; top_p beside it is refused by newer models."""
    sampling = draft.request.sampling
    thinking = thinks(body)
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if temperature is not None and not 0 <= temperature <= 1:
        draft.change("temperature", "Anthropic's temperature lies between 0 and 1")
        temperature = min(max(temperature, 0), 1)
    if thinking and temperature not in (None, 1):
        draft.lose("temperature", "a thinking model's temperature is 1")
        temperature = None
    if thinking and top_k is not None:
        draft.lose("top_k", "a thinking model takes no top_k")
        top_k = None
    if top_p is not None and temperature is not None:
        if top_p != 1:
            draft.lose("top_p", "Anthropic's models take temperature or top_p, not both")
        top_p = None
    if top_p is not None and thinking and top_p < 0.95:
        draft.lose("top_p", "a thinking model's top_p is at least 0.95")
        top_p = None
    set_sampling(draft, body, temperature, top_p, top_k)
    for name, unset in (("seed", None), ("min_p", 0), ("frequency_penalty", 0), ("presence_penalty", 0)):
        if getattr(sampling, name) not in (None, unset):
            draft.lose(name, "Anthropic has no such setting")
    if sampling.repetition_penalty not in (None, 1):
        draft.lose("repetition_penalty", "Anthropic has no such setting")
    if sampling.logit_bias:
        draft.lose("logit_bias", "Anthropic has no such setting")


def set_sampling(
    draft: Draft,
    body: dict[str, object],
    temperature: Number | None,
    top_p: Number | None,
    top_k: Number | None,
) -> None:
    for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
        if value is None:
            continue
        if draft.traits.sampling:
            body[name] = int(value) if name == "top_k" else value
        else:
            draft.lose(name, "this model takes no sampling parameters")
