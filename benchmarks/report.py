"""Results as a person reads them: Markdown tables and the targets they are held against.

Knows the names of the figures, not how they were measured.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.footprint import MB_MAX, PACKAGES_MAX
from benchmarks.gateways import RELAY, TO_ANTHROPIC, TO_CHAT

Results = dict[str, Any]  # what run.py writes to latest.json


def at(results: Results, *path: str) -> float | None:
    """A figure by its path, None if that leg was not measured."""
    found: Any = results
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return len(found) if isinstance(found, list) else found


def _torana(*path: str) -> Callable[[Results], float | None]:
    return lambda results: at(results, "gateways", "Torana", *path)


def _streams_at_once(results: Results) -> float | None:
    """Only a leg all of whose streams ended well has a figure."""
    return at(results, "gateways", "Torana", "legs", RELAY, "streamed", "streams")


# name, unit, bound, True if the bound is a ceiling, where the figure stands
TARGETS: tuple[tuple[str, str, float, bool, Callable[[Results], float | None]], ...] = (
    ("CPU per passed-through request", "us", 60, True, _torana("legs", RELAY, "whole", "cpu_us")),
    ("CPU per request, chat to Anthropic", "us", 90, True, _torana("legs", TO_ANTHROPIC, "whole", "cpu_us")),
    ("CPU per request, Anthropic to chat", "us", 90, True, _torana("legs", TO_CHAT, "whole", "cpu_us")),
    ("CPU per relayed event", "us", 15, True, _torana("legs", RELAY, "streamed", "cpu_us_per_event")),
    (
        "CPU per event, Anthropic events to chat",
        "us",
        25,
        True,
        _torana("legs", TO_ANTHROPIC, "streamed", "cpu_us_per_event"),
    ),
    (
        "CPU per event, chat events to Anthropic",
        "us",
        25,
        True,
        _torana("legs", TO_CHAT, "streamed", "cpu_us_per_event"),
    ),
    ("Requests a second on one core", "/s", 10_000, False, _torana("legs", RELAY, "whole", "per_s")),
    ("Streams at once", "", 1000, False, _streams_at_once),
    ("Added p99 at 1,000 requests/s", "ms", 2, True, _torana("paced", "added_p99_ms")),
    ("Idle memory", "MB", 60, True, _torana("rss_idle_mb")),
    ("Ready after", "s", 0.7, True, _torana("ready_s")),
    ("import torana.translate", "ms", 60, True, lambda results: at(results, "footprint", "import_ms")),
    ("Packages installed", "", PACKAGES_MAX, True, lambda results: at(results, "footprint", "packages")),
    ("Size installed", "MB", MB_MAX, True, lambda results: at(results, "footprint", "mb")),
)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.0f}"
        if abs(value) >= 100 or value == int(value)
        else f"{value:.{1 if abs(value) >= 10 else 2}f}"
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join([_row(heads), _row(rule), *(_row(cells) for cells in rows)])


def targets(results: Results) -> str:
    rows = []
    for name, unit, bound, ceiling, read in TARGETS:
        value = read(results)
        met = (
            "not measured"
            if value is None
            else "yes"
            if (value <= bound) == ceiling or value == bound
            else "NO"
        )
        sign = "at most" if ceiling else "at least"
        rows.append(
            [name, f"{_number(value)} {unit}".strip(), f"{sign} {_number(bound)} {unit}".strip(), met]
        )
    return _table(["Torana", "measured", "target", "met"], rows)


def beside(results: Results) -> str:
    """All gateways in one table, by CPU per passed-through request."""
    rows = []
    for name, figures in results["gateways"].items():
        if "legs" not in figures:
            continue

        def cell(*path: str, figures: Results = figures) -> str:
            return _number(at(figures, *path))

        rows.append(
            [
                f"{name} {figures['version']} ({figures['language']}; {figures['features']})",
                cell("legs", RELAY, "whole", "cpu_us"),
                cell("legs", TO_ANTHROPIC, "whole", "cpu_us"),
                cell("legs", RELAY, "streamed", "cpu_us_per_event"),
                cell("legs", TO_ANTHROPIC, "streamed", "cpu_us_per_event"),
                cell("legs", RELAY, "whole", "per_s"),
                cell("paced", "cpu_us"),
                cell("paced", "added_p50_ms"),
                cell("paced", "added_p99_ms"),
                cell("rss_idle_mb"),
                cell("ready_s"),
            ]
        )
    heads = ["gateway", "us/request", "us/request to Anthropic", "us/event", "us/event from Anthropic"]
    heads += ["requests/s", "us/request at 1,000/s", "added p50 ms", "added p99 ms", "idle MB", "ready s"]
    return _table(heads, rows)


def _failures(results: Results) -> list[str]:
    lines = [
        f"- {name}: {found['failed']}" for name, found in results["gateways"].items() if "failed" in found
    ]
    for name, figures in results["gateways"].items():
        for crossing, leg in figures.get("legs", {}).items():
            if "failed" in leg:
                lines.append(f"- {name}, {crossing}: {leg['failed']}")
    if "failed" in results.get("footprint", {}):
        lines.append(f"- footprint: {results['footprint']['failed']}")
    lines += [f"- {name} is not installed here" for name in results["absent"]]
    return lines


def markdown(results: Results) -> str:
    machine, direct = results["machine"], results["direct"]
    parts = [
        "# Measured",
        (
            f"{results['date']}, `python -m benchmarks.run`; {machine['cores']} cores of {machine['cpu']}, Linux "
            f"{machine['kernel']}, Python {machine['python']}. 1 KB bodies; each gateway alone on one core."
        ),
        targets(results),
        beside(results),
        (
            f"Direct leg: {_number(direct['whole']['per_s'])} requests/s, {_number(direct['whole']['cpu_us'])} us of "
            f"the mock's own CPU per request; p50 {_number(direct['paced']['p50_ms'])} ms and p99 "
            f"{_number(direct['paced']['p99_ms'])} ms at 1,000/s."
        ),
    ]
    disturbance = results["disturbance"]
    parts.append(
        f"While it ran, other processes used {disturbance['others_cores']:.2f} of a core and the host took "
        f"{disturbance['stolen_cores']:.2f}; above a few hundredths, measure again on a quiet machine."
    )
    failures = _failures(results)
    if failures:
        parts.append("Not measured:\n\n" + "\n".join(failures))
    return "\n\n".join(parts) + "\n"
