"""Write src/torana/providers/models.json: what is known of each provider's models, from two published sources.

    python scripts/generate_models.py [--report FILE]   write it; tell where the sources differ
    python scripts/generate_models.py --check           exit 1 if the committed file is not what this script writes

Facts (context, limits, modalities, abilities) come from the models.dev snapshot in ../shared/data. Prices come from
the genai-prices package as they stand on AS_OF, else from models.dev: the newer source wins, whole card by whole
card, and every difference is reported for a person to judge. What neither states stays absent.

A models.dev row that names a `base_model` and leaves a fact out inherits it: from the maker's own row if that
states it, else from what most other rows of the same model say, if more than half and at least two agree.
"""

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from torana.records import Model, Price, Tier

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT.parent / "shared/data/models.dev.json"
SNAPSHOT_DATE = "2026-07-02"
TARGET = ROOT / "src/torana/providers/models.json"
AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
# Prices with a later start wait for the next run. Noon: DeepSeek charges more at other hours (see the report).


class Source(NamedTuple):
    """Where one of our providers stands in each source; "" where it does not."""

    snapshot: str
    prices: str = ""
    prefix: str = ""  # of model ids at the provider, where genai-prices leaves it out
    lower: bool = False  # genai-prices writes ids in capitals that the API takes in lower case
    only: str = ""  # ids of genai-prices that are served under this provider's address begin with this


SOURCES = {
    "anthropic": Source("anthropic", "anthropic"),
    "azure": Source("azure", "azure"),
    "baseten": Source("baseten", "baseten"),
    "cerebras": Source("cerebras", "cerebras"),
    "chutes": Source("chutes"),
    "cloudflare": Source("cloudflare-workers-ai", "cloudflare"),
    "cohere": Source("cohere", "cohere"),
    "dashscope": Source("alibaba"),
    "databricks": Source("databricks", "databricks"),
    "deepinfra": Source("deepinfra"),
    "deepseek": Source("deepseek", "deepseek"),
    "digitalocean": Source("digitalocean"),
    "fireworks": Source("fireworks-ai", "fireworks", prefix="accounts/fireworks/models/"),
    "friendli": Source("friendli"),
    "gemini": Source("google", "google", only="gem"),
    "github": Source("github-models"),
    "groq": Source("groq", "groq"),
    "huggingface": Source("huggingface"),
    "inception": Source("inception"),
    "llama": Source("llama", "meta"),
    "minimax": Source("minimax", "minimax"),
    "mistral": Source("mistral", "mistral"),
    "moonshot": Source("moonshotai", "moonshotai"),
    "nebius": Source("nebius"),
    "novita": Source("novita-ai", "novita"),
    "nvidia": Source("nvidia"),
    "ollama-cloud": Source("ollama-cloud"),
    "openai": Source("openai", "openai"),
    "openrouter": Source("openrouter", "openrouter"),
    "ovhcloud": Source("ovhcloud", "ovhcloud"),
    "perplexity": Source("perplexity", "perplexity"),
    "poe": Source("poe"),
    "requesty": Source("requesty"),
    "scaleway": Source("scaleway"),
    "siliconflow": Source("siliconflow"),
    "siliconflow-cn": Source("siliconflow-cn"),
    "snowflake": Source("snowflake-cortex"),
    "stepfun": Source("stepfun"),
    "together": Source("togetherai", "together"),
    "upstage": Source("upstage"),
    "vercel": Source("vercel"),
    "wandb": Source("wandb"),
    "xai": Source("xai", "x-ai"),
    "xiaomi": Source("xiaomi"),
    "zai": Source("zai", "zai", lower=True),
    "zenmux": Source("zenmux"),
    "zhipu": Source("zhipuai", "zhipuai", lower=True),
}

# ---------------------------------------------------------------- prices

PICO_PER_TOKEN = 1_000_000  # a dollar per million tokens; also nano-dollars a piece of a dollar per thousand
TOKEN_PRICES = {  # genai-prices' name -> records.Price's
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_audio_read",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
}
CALL_PRICES = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}
SNAPSHOT_PRICES = {  # models.dev's name, misspellings included -> records.Price's
    "input": "input",
    "output": "output",
    "cache_read": "cache_read",
    "cached_input": "cache_read",
    "cache_input": "cache_read",
    "cache_write": "cache_write",
    "cached_write": "cache_write",
    "reasoning": "reasoning",
    "input_audio": "input_audio",
    "output_audio": "output_audio",
}


def whole(amount: Decimal) -> int:
    """To the nearest: a few resellers publish twelfths of a cent, cut to 17 digits."""
    return int((amount * PICO_PER_TOKEN).quantize(Decimal(1), ROUND_HALF_UP))


def genai_price(card: Any) -> tuple[Price | None, list[str]]:
    """A ModelPrice of genai-prices as ours, and the names of the prices that ours has no place for."""
    stated = {key: value for key, value in vars(card).items() if value is not None}
    left = sorted(stated.keys() - TOKEN_PRICES.keys() - CALL_PRICES.keys() - {"requests_kcount"})
    if not stated.keys() & {
        "input_mtok",
        "output_mtok",
        "input_image_mtok",
        "output_image_mtok",
        "requests_kcount",
    }:
        return None, left
    marks = sorted({tier.start for value in stated.values() for tier in getattr(value, "tiers", ())})
    above = tuple(Tier(mark, Price(**_card(stated, mark))) for mark in marks)
    return Price(**_card(stated, -1), above=above), left


def _card(stated: dict[str, Any], mark: int) -> dict[str, Any]:
    """The prices that count for a prompt just longer than `mark`."""
    card: dict[str, Any] = {}
    for key, value in stated.items():
        amount = value
        if hasattr(value, "tiers"):
            amount = next((t.price for t in reversed(value.tiers) if t.start <= mark), value.base)
        if key in TOKEN_PRICES:
            card[TOKEN_PRICES[key]] = whole(amount)
        elif key in CALL_PRICES:
            card.setdefault("calls", {})[CALL_PRICES[key]] = whole(amount)
        elif key == "requests_kcount":
            card["request"] = whole(amount)
    return card


def snapshot_price(cost: dict[str, Any] | None) -> Price | None:
    """The `cost` of a models.dev row as ours. A cache price of 0 beside a paid input is one nobody filled in."""
    if not cost or "input" not in cost or "output" not in cost:
        return None
    tiers = sorted(cost.get("tiers", ()), key=lambda tier: tier["tier"]["size"])
    above = [Tier(tier["tier"]["size"], Price(**_snapshot_card({**cost, **tier}))) for tier in tiers]
    return Price(**_snapshot_card(cost), above=tuple(above))


def _snapshot_card(cost: dict[str, Any]) -> dict[str, int]:
    card = {}
    for theirs, ours in SNAPSHOT_PRICES.items():
        amount = cost.get(theirs)
        if amount is None or (ours.startswith("cache") and not amount and cost["input"]):
            continue
        card[ours] = whole(Decimal(amount))
    return card


def differs(older: Price, newer: Price) -> bool:
    """Whether the newer card contradicts the older or leaves out what it states; what it adds is no difference."""
    stated = {
        key: value for key, value in msgspec.structs.asdict(older).items() if isinstance(value, int) and value
    }
    if any(getattr(newer, key) != value for key, value in stated.items()) or len(older.above) > len(
        newer.above
    ):
        return True
    return any(
        a.tokens != b.tokens or differs(a.price, b.price)
        for a, b in zip(older.above, newer.above, strict=False)
    )


# ---------------------------------------------------------------- facts

MODALITIES = {"pdf": "document"}
FACTS = (
    "context",
    "output_max",
    "input",
    "output",
    "tools",
    "structured",
    "reasoning",
    "sampling",
    "created",
)


def stated_facts(row: dict[str, Any]) -> dict[str, Any]:
    """What a models.dev row says of its model, under our names."""
    limit, modalities = row.get("limit", {}), row.get("modalities", {})
    facts = {
        "context": limit.get("context") or None,
        "output_max": limit.get("output") or None,
        "input": _modalities(modalities.get("input")),
        "output": _modalities(modalities.get("output")),
        "tools": row.get("tool_call"),
        "structured": row.get("structured_output"),
        "reasoning": row.get("reasoning"),
        "sampling": row.get("temperature"),
        "created": _epoch(row.get("release_date", "")),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _modalities(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(MODALITIES.get(name, name) for name in names))


def _epoch(date: str) -> int | None:
    """Seconds since 1970 of 2025-08-07, 2025-08 or 2025."""
    found = re.fullmatch(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", date)
    try:
        year, month, day = (int(part or 1) for part in found.groups()) if found else (0, 0, 0)
        return int(datetime(year, month, day, tzinfo=UTC).timestamp())
    except ValueError:  # nothing, or a month 00
        return None


def bare(id: str) -> str:
    """A model's name without its maker, spelled one way: anthropic/claude-opus-4.7 is claude-opus-4-7."""
    return id.rsplit("/", 1)[-1].lower().replace(".", "-")


class Inheritance:
    """Fills in what a row with a base_model leaves out."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self._snapshot = snapshot
        self._votes: dict[tuple[str, str], Counter[Any]] = defaultdict(Counter)
        for provider in snapshot.values():
            for id, row in provider["models"].items():
                for name, value in stated_facts(row).items():
                    self._votes[bare(id), name][value] += 1

    def facts(self, row: dict[str, Any]) -> dict[str, Any]:
        facts = stated_facts(row)
        if base := row.get("base_model"):
            maker, _, id = base.partition("/")
            own = self._snapshot.get(maker, {}).get("models", {}).get(id, {})
            facts = {**self._agreed(bare(base)), **stated_facts(own), **facts}
        return facts

    def _agreed(self, name: str) -> dict[str, Any]:
        agreed = {}
        for fact in FACTS:
            votes = self._votes[name, fact]
            value, count = votes.most_common(1)[0] if votes else (None, 0)
            if count >= 2 and 2 * count > votes.total():
                agreed[fact] = value
        return agreed


CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def claude_version(id: str) -> tuple[int, int] | None:
    """(4, 7) of claude-opus-4-7, anthropic/claude-opus-4.7 and claude-opus-4-7@20260416; (3, 7) of claude-3-7-sonnet."""
    found = CLAUDE.search(id.lower())
    return (int(found[1]), int(found[2] or 0)) if found else None


def derived(id: str, facts: dict[str, Any]) -> dict[str, Any]:
    """What follows from a family's name where no source states it.

    Claude: https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking; 4.7 and later refuse sampling
    parameters, as do OpenAI's reasoning models (https://platform.openai.com/docs/guides/reasoning).
    """
    more: dict[str, Any] = {}
    version = claude_version(id)
    if version and version >= (3, 7):
        more["thinking"] = "adaptive" if version >= (4, 6) else "budget"
    if "sampling" not in facts:
        openai = re.match(r"(o\d|gpt-[5-9])", bare(id))
        refuses = (version and version >= (4, 7)) or (openai and "chat" not in id and "oss" not in id)
        if refuses:
            more["sampling"] = False
    return more


# ---------------------------------------------------------------- rows


class Run:
    def __init__(self, snapshot: dict[str, Any]) -> None:
        from genai_prices.data import providers

        self.snapshot = snapshot
        self.inheritance = Inheritance(snapshot)
        self.priced_by = {provider.id: provider for provider in providers}
        self.all_priced = providers
        version = metadata.version("genai-prices")
        self.genai = f"genai-prices {version} {AS_OF:%Y-%m-%d}"
        self.models_dev = f"models.dev {SNAPSHOT_DATE}"
        self.report: list[str] = []

    def rows(self, name: str, source: Source) -> list[Model]:
        """All models of one of our providers, sorted by id."""
        found: dict[str, Model] = {}
        for id, row in self.snapshot[source.snapshot]["models"].items():
            price, priced = self._price(name, id, source, row)
            found[id] = self._row(name, id, row.get("name", ""), self.inheritance.facts(row), price, priced)
        if source.prices:
            for id, info, twin in self._unlisted(source, found):
                price, left = genai_price(info.get_prices(AS_OF))
                self._leftovers(name, id, left)
                facts = dict(zip(FACTS, (getattr(twin, fact) for fact in FACTS), strict=True)) if twin else {}
                if info.context_window and not facts.get("context"):
                    facts["context"] = info.context_window
                found[id] = self._row(name, id, info.name or "", facts, price, self.genai)
        return [found[id] for id in sorted(found)]

    def _row(
        self, name: str, id: str, title: str, facts: dict[str, Any], price: Price | None, priced: str
    ) -> Model:
        row = {**facts, **derived(id, facts)}
        row = {key: value for key, value in row.items() if value is not None}
        return Model(
            id=id,
            provider=name,
            title="" if title == id else title,
            price=price,
            priced=priced if price is not None else "",
            **row,
        )

    def _price(self, name: str, id: str, source: Source, row: dict[str, Any]) -> tuple[Price | None, str]:
        older = snapshot_price(row.get("cost"))
        info = self._info(source, id)
        newer, left = genai_price(info.get_prices(AS_OF)) if info else (None, [])
        self._leftovers(name, id, left)
        if newer is None:
            return older, self.models_dev
        self._hours(name, id, info)
        if older is not None and differs(older, newer):
            self.report.append(
                f"{name}/{id}: {_dollars(newer)} by genai-prices, {_dollars(older)} by models.dev"
            )
        return newer, self.genai

    def _info(self, source: Source, id: str) -> Any:
        if not source.prices:
            return None
        provider = self.priced_by[source.prices]
        return provider.find_model(id.removeprefix(source.prefix), all_providers=self.all_priced)

    def _unlisted(self, source: Source, found: dict[str, Model]) -> Iterator[tuple[str, Any, Model | None]]:
        """Models of genai-prices that models.dev does not list: (id, info, the listed row of the same model)."""
        seen = {id.lower() for id in found}
        for info in self.priced_by[source.prices].models:
            own = self._spelled(source, info.id)
            for id in dict.fromkeys([own, *(self._spelled(source, alias) for alias in _exact(info.match))]):
                if id.lower() in seen or not _callable(id, source):
                    continue
                if self._info(source, id) is not info:  # another, more special model answers to this name
                    continue
                seen.add(id.lower())
                yield id, info, found.get(own)

    @staticmethod
    def _spelled(source: Source, id: str) -> str:
        return source.prefix + (id.lower() if source.lower else id)

    def _leftovers(self, name: str, id: str, left: list[str]) -> None:
        if left:
            self.report.append(f"{name}/{id}: no place for {', '.join(left)}")

    def _hours(self, name: str, id: str, info: Any) -> None:
        prices = info.prices if isinstance(info.prices, list) else []
        if any(hasattr(price.constraint, "start_time") for price in prices):
            self.report.append(f"{name}/{id}: the price depends on the hour; noon UTC is taken")


def _exact(match: Any) -> Iterator[str]:
    """The names that a matching rule accepts letter by letter."""
    if hasattr(match, "equals"):
        yield match.equals
    for clause in getattr(match, "or_", ()):
        if hasattr(clause, "equals"):
            yield clause.equals


def _callable(id: str, source: Source) -> bool:
    """Not the stem of fine-tuned names, nor another vendor's model at another address."""
    stem = id.removeprefix(source.prefix)
    return (
        not stem.startswith("ft:")
        and ".ft-" not in stem
        and not stem.endswith("-")
        and stem.startswith(source.only)
    )


def _dollars(price: Price) -> str:
    fields = {
        key: value for key, value in msgspec.structs.asdict(price).items() if isinstance(value, int) and value
    }
    text = " ".join(f"{key} {Decimal(value) / PICO_PER_TOKEN:f}" for key, value in fields.items()) or "free"
    return text + "".join(f" above {tier.tokens}: {_dollars(tier.price)}" for tier in price.above)


# ---------------------------------------------------------------- the file


def generate() -> tuple[str, list[str]]:
    snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8"), parse_float=Decimal)
    run = Run(snapshot)
    sources = {
        "models.dev": {"date": SNAPSHOT_DATE, "licence": "MIT", "address": "https://models.dev"},
        "genai-prices": {
            "version": metadata.version("genai-prices"),
            "date": f"{AS_OF:%Y-%m-%d}",
            "licence": "MIT",
            "address": "https://github.com/pydantic/genai-prices",
        },
    }
    encoder = msgspec.json.Encoder(order="deterministic")
    blocks = []
    for name, source in sorted(SOURCES.items()):
        rows = b",\n".join(encoder.encode(row) for row in run.rows(name, source)).decode()
        blocks.append(f'"{name}":[\n{rows}\n]')
    text = f'{{"sources":{encoder.encode(sources).decode()},\n"rows":{{\n' + ",\n".join(blocks) + "\n}}\n"
    return text, run.report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the file is not current"
    )
    parser.add_argument(
        "--report", type=Path, help="write the differences between the sources here, not to stdout"
    )
    options = parser.parse_args()
    if not SNAPSHOT.exists():
        sys.stdout.write(f"skipped: no models.dev snapshot at {SNAPSHOT.relative_to(ROOT.parent)}\n")
        return 0
    text, report = generate()
    if options.check:
        current = TARGET.read_text(encoding="utf-8") == text
        sys.stdout.write(
            "models.json is current\n" if current else "models.json is not current: run this script\n"
        )
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    told = "\n".join(sorted(report)) + "\n"
    if options.report:
        options.report.write_text(told, encoding="utf-8")
    else:
        sys.stdout.write(told)
    sys.stdout.write(f"{len(text)} bytes, {len(report)} differences\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
