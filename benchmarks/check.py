"""The ratchet: are the figures still as good as they were, whatever machine this is?

Absolutes differ between machines, so what is kept is ratios to yardsticks of the same run: CPU to the mock's own
CPU per request (one read, one answer, the same interpreter and kernel), times and memory to a bare interpreter,
sizes to their targets. `--tighten` writes better ratios down; nothing but an edit by hand loosens one.

    python -m benchmarks.run --only torana --quick --out benchmarks/out/check.json
    python -m benchmarks.check benchmarks/out/check.json
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.gateways import RELAY, TO_ANTHROPIC, TO_CHAT
from benchmarks.report import Results, at

HERE = Path(__file__).parent
RATCHET = HERE / "ratchet.json"
# Others that use more of a core than this share its caches too, and CPU per request is no longer ours alone.
OTHERS_CORES_MAX = 0.1
_TORANA = ("gateways", "Torana")
_YARDSTICK = ("yardstick_us",)

# name -> path of the figure, path of its yardstick
RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "request, chat to chat": ((*_TORANA, "legs", RELAY, "whole", "cpu_us"), _YARDSTICK),
    "request, chat to Anthropic": ((*_TORANA, "legs", TO_ANTHROPIC, "whole", "cpu_us"), _YARDSTICK),
    "request, Anthropic to chat": ((*_TORANA, "legs", TO_CHAT, "whole", "cpu_us"), _YARDSTICK),
    "event, chat to chat": ((*_TORANA, "legs", RELAY, "streamed", "cpu_us_per_event"), _YARDSTICK),
    "event, chat to Anthropic": (
        (*_TORANA, "legs", TO_ANTHROPIC, "streamed", "cpu_us_per_event"),
        _YARDSTICK,
    ),
    "event, Anthropic to chat": ((*_TORANA, "legs", TO_CHAT, "streamed", "cpu_us_per_event"), _YARDSTICK),
    "ready": ((*_TORANA, "ready_s"), ("footprint", "interpreter_s")),
    "import": (("footprint", "import_ms"), ("footprint", "interpreter_ms")),
    "idle memory": ((*_TORANA, "rss_idle_mb"), ("footprint", "interpreter_mb")),
    "packages": (("footprint", "packages"), ("footprint", "packages_max")),
    "installed size": (("footprint", "mb"), ("footprint", "mb_max")),
}


def ratios(results: Results) -> dict[str, float]:
    """Every ratio the run holds both figures of."""
    found = {}
    for name, (path, yardstick) in RATIOS.items():
        value, unit = at(results, *path), at(results, *yardstick)
        if value is not None and unit:
            found[name] = round(value / unit, 3)
    return found


def cheaper_peers(results: Results) -> list[str]:
    """Where a peer measured in the same run used less CPU than Torana: the promise is that there is none."""
    lines = []
    for crossing in (RELAY, TO_ANTHROPIC):
        for kind, figure in (("whole", "cpu_us"), ("streamed", "cpu_us_per_event")):
            ours = at(results, *_TORANA, "legs", crossing, kind, figure)
            for name in results["gateways"]:
                theirs = at(results, "gateways", name, "legs", crossing, kind, figure)
                if ours is not None and theirs is not None and name != "Torana" and theirs <= ours:
                    lines.append(
                        f"{name} used {theirs:.1f} us where Torana used {ours:.1f} ({crossing}, {kind})"
                    )
    return lines


def complaints(measured: dict[str, float], kept: dict[str, float], tolerance: float) -> list[str]:
    lines = []
    for name, bound in kept.items():
        if name not in measured:
            lines.append(f"{name}: the ratchet keeps it and this run did not measure it")
        elif measured[name] > bound * (1 + tolerance):
            lines.append(f"{name}: {measured[name]:.2f} is above {bound:.2f} by more than {tolerance:.0%}")
    return lines


def tighten(measured: dict[str, float], kept: dict[str, float]) -> dict[str, float]:
    return {
        name: min(measured.get(name, float("inf")), kept.get(name, float("inf")))
        for name in RATIOS
        if name in measured or name in kept
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("results", type=Path, nargs="?", default=HERE / "out" / "latest.json")
    options.add_argument("--tighten", action="store_true", help="write down the ratios that got better")
    chosen = options.parse_args()
    if not chosen.results.exists():
        sys.exit(f"{chosen.results} does not exist; python -m benchmarks.run writes it")
    results: Results = json.loads(chosen.results.read_text())
    ratchet = json.loads(RATCHET.read_text())
    measured, kept = ratios(results), ratchet["ratios"]
    for name, ratio in measured.items():
        print(f"{name:28} {ratio:8.2f}   kept {kept.get(name, float('nan')):8.2f}")
    others = float(results["disturbance"]["others_cores"])
    if others > OTHERS_CORES_MAX:
        print(
            f"not to be trusted: other processes used {others:.2f} of a core during this run", file=sys.stderr
        )
    if chosen.tighten:
        if others > OTHERS_CORES_MAX:
            sys.exit("the ratchet is tightened from an undisturbed run only")
        ratchet["ratios"] = tighten(measured, kept)
        RATCHET.write_text(json.dumps(ratchet, indent=2) + "\n")
        return
    found = complaints(measured, kept, ratchet["tolerance"]) + cheaper_peers(results)
    if not kept:
        found.append(f"{RATCHET.name} keeps nothing yet: python -m benchmarks.check --tighten begins it")
    if found:
        sys.exit("\n".join(["", *found]))


if __name__ == "__main__":
    main()
