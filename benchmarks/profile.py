"""Where the time of a running Torana goes: the same load as the benchmark, under two sampling profilers.

py-spy tells Python's functions, perf (if the machine has it) which library or the kernel the core is in. Neither
changes the program. py-spy is installed into out/py-spy at its pinned version when it is not there.

    python -m benchmarks.profile                                       # passed-through requests
    python -m benchmarks.profile --crossing "chat -> anthropic" --streams
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks import gateways, load
from benchmarks.gateways import RELAY, TO_ANTHROPIC, TO_CHAT, TORANA
from benchmarks.run import CONNECTIONS, LOAD_CORE, OUT, STREAM_EVENTS, STREAM_GAP_MS, mock_provider, running

PY_SPY = "py-spy==0.4.3"
RATE_HZ = 500  # finer sampling would take the load's core
LINES = 40
IDLE = "_worker (concurrent/futures/"  # a pool's thread that waits for work; py-spy takes it for busy


def py_spy() -> str:
    found = shutil.which("py-spy")
    if found:
        return found
    directory = OUT / "py-spy"
    program = directory / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        install = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", PY_SPY]
        subprocess.run(install, check=True)
    return str(program)


async def _watched(
    watcher: list[str], work: "asyncio.Future[load.Tally] | asyncio.Task[load.Tally]"
) -> load.Tally:
    process = await asyncio.create_subprocess_exec(*watcher, stdout=asyncio.subprocess.DEVNULL)
    try:
        return await work
    finally:
        await asyncio.wait_for(process.wait(), 30)


def _load(port: int, request: bytes, *, streams: bool, duration_s: float) -> "asyncio.Task[load.Tally]":
    if not streams:
        target = load.Target(port, request)
        work = load.closed(target, connections=CONNECTIONS, duration_s=duration_s)
    else:
        one_s = STREAM_EVENTS * STREAM_GAP_MS / 1000
        target = load.Target(port, request, b"Torana")
        rounds = max(1, round(duration_s / one_s))
        work = load.streams(target, count=1000, rounds=rounds, spread_s=0.1, timeout_s=duration_s * 3)
    return asyncio.get_running_loop().create_task(work)


def _profile(
    watcher: list[str], port: int, request: bytes, *, streams: bool, duration_s: float
) -> load.Tally:
    async def both() -> load.Tally:
        work = _load(port, request, streams=streams, duration_s=duration_s)
        await asyncio.sleep(0.5)  # the load has begun
        return await _watched(watcher, work)

    return uvloop.run(both())


def functions(stacks: Path) -> str:
    """Self and total shares by function, from py-spy's collapsed stacks: `frame;frame;frame count`."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        frames, _, seen = line.rpartition(" ")
        parts = frames.split(";")
        if parts[-1].startswith(IDLE):
            continue
        own[parts[-1]] += int(seen)
        total.update(dict.fromkeys(parts, int(seen)))
    samples = own.total()
    rows = [f"{'self':>7} {'total':>7}  function"]
    for frame, count in own.most_common(LINES):
        rows.append(f"{count / samples:7.1%} {total[frame] / samples:7.1%}  {frame}")
    return "\n".join(rows)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--crossing", choices=(RELAY, TO_ANTHROPIC, TO_CHAT), default=RELAY)
    options.add_argument(
        "--streams", action="store_true", help="1,000 streams at once instead of whole answers"
    )
    options.add_argument("--by-line", action="store_true", help="lines instead of functions")
    options.add_argument("--native", action="store_true", help="py-spy also shows C functions")
    options.add_argument("--duration", type=float, default=10.0, help="seconds of each profiler")
    return options.parse_args()


def _flags(options: argparse.Namespace) -> list[str]:
    return [*(["--native"] if options.native else []), *([] if options.by_line else ["--function"])]


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    OUT.mkdir(parents=True, exist_ok=True)
    stacks = OUT / "profile.stacks"
    seconds = options.duration
    with mock_provider(OUT) as mock, running(TORANA, mock) as started:
        mock.script(STREAM_EVENTS, STREAM_GAP_MS)
        leg = next(leg for leg in TORANA.legs(mock.port) if leg.crossing == options.crossing)
        request, pid = leg.request(stream=options.streams), str(started.process.pid)
        watcher = [py_spy(), "record", "--pid", pid, "--rate", str(RATE_HZ), "--duration", str(int(seconds))]
        watcher += ["--format", "raw", "--output", str(stacks), *_flags(options)]
        tally = _profile(watcher, started.port, request, streams=options.streams, duration_s=seconds + 1)
        print(f"{tally.count} answers in {tally.wall_s:.1f} s\n{functions(stacks)}")
        if shutil.which("perf"):
            data = str(OUT / "perf.data")
            watcher = [
                "perf",
                "record",
                "-q",
                "-o",
                data,
                "-p",
                pid,
                "-F",
                str(RATE_HZ),
                "--",
                "sleep",
                str(seconds),
            ]
            _profile(watcher, started.port, request, streams=options.streams, duration_s=seconds + 1)
            shares = [
                "perf",
                "report",
                "-i",
                data,
                "--stdio",
                "--no-children",
                "--sort",
                "dso",
                "--percent-limit",
                "1",
            ]
            subprocess.run(shares, check=True, stderr=subprocess.DEVNULL)
    print(f"stacks for a flame graph: {os.path.relpath(stacks)}; {gateways.TORANA.name} {TORANA.version()}")


if __name__ == "__main__":
    main()
