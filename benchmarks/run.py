"""The benchmark: one gateway at a time on core 0, the load and the mock provider on core 1, results in out/.

    python -m benchmarks.run                     # Torana and every installed peer, under six minutes
    python -m benchmarks.run --only torana --quick

A leg's CPU is what the operating system charged to the gateway's whole process tree from before the first request
to a moment after the last answer, so that batched writes are in it. A leg in which one answer was not a 200, not
whole or not the mock's, or in which the mock was asked another number of times than the gateway was, fails.
Needs Linux and two cores. Ends only what it started.
"""

import argparse
import http.client
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import accounting, bodies, footprint, gateways, load, report
from benchmarks.gateways import Gateway, Launch, Leg
from benchmarks.upstream import HOST

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
GATEWAY_CORE, LOAD_CORE = 0, 1
READY_S_MAX = 60.0  # LiteLLM needs some 15 s on one core
SETTLE_S = 0.3  # several times the 50 ms after which a ledger writes its batch
CONNECTIONS = 64
RATE = 1000  # requests a second of the paced leg
STREAM_EVENTS = 50  # text deltas of one stream; 100 ms apart, as a fast model's tokens are
STREAM_GAP_MS = 100
Figures = dict[str, Any]  # name -> number or words; report.py knows the names


class BenchError(Exception):
    """The run cannot go on; the message says what to look at."""


@dataclass(frozen=True)
class Effort:
    """How long is measured, seconds and repetitions."""

    warm_s: float
    closed_s: float
    rounds: int
    paced_s: float
    starts: int


# Peers warm up longer: Node compiles what is hot only after some thousand requests.
FULL = Effort(warm_s=1.0, closed_s=2.0, rounds=3, paced_s=5.0, starts=5)
PEER = Effort(warm_s=4.0, closed_s=3.0, rounds=1, paced_s=5.0, starts=1)
QUICK = Effort(warm_s=0.5, closed_s=1.0, rounds=3, paced_s=2.0, starts=3)


@dataclass
class Running:
    process: "subprocess.Popen[bytes]"
    port: int
    ready_s: float


class Mock:
    """The mock provider as the run sees it: told its script, asked for its counts, moved between cores."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port

    def script(self, events: int, gap_ms: int) -> None:
        self._ask("PUT", f"/control?events={events}&gap_ms={gap_ms}")

    def counts(self) -> dict[str, int]:
        return self._ask("GET", "/control")

    def _ask(self, method: str, path: str) -> dict[str, int]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(method, path)
            answer: dict[str, int] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


@contextmanager
def mock_provider(directory: Path) -> Iterator[Mock]:
    log = directory / "upstream.log"
    command = [sys.executable, "-m", "benchmarks.upstream"]
    process = accounting.start(command, core=LOAD_CORE, log=log, environment={"PYTHONPATH": str(ROOT)})
    try:
        yield Mock(process, int(_wait_for(process, log, r"^(\d+)$")))
    finally:
        accounting.stop(process)


def _wait_for(process: "subprocess.Popen[bytes]", log: Path, pattern: str) -> str:
    """The first group of what a process prints about itself."""
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise BenchError(f"it never printed {pattern!r}; its log ends: {log.read_text(errors='replace')[-800:]}")


# ---------------------------------------------------------------- starting a gateway


def open_gateway(gateway: Gateway, directory: Path, mock: Mock) -> Running:
    """Starts a gateway on its core and returns when it first answers its health path as it should."""
    launch = gateway.launch(directory, gateways.free_port(), mock.port)
    log = directory / "gateway.log"
    began = time.perf_counter()
    process = accounting.start(launch.command, core=GATEWAY_CORE, log=log, environment=launch.environment)
    try:
        return Running(process, _healthy_port(gateway, launch, process, log), time.perf_counter() - began)
    except BaseException:
        accounting.stop(process)
        raise


def _healthy_port(gateway: Gateway, launch: Launch, process: "subprocess.Popen[bytes]", log: Path) -> int:
    port = launch.port or int(_wait_for(process, log, r"http://127\.0\.0\.1:(\d+)"))
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=2)
            connection.request("GET", gateway.health)
            if connection.getresponse().status == gateway.health_status:
                return port
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise BenchError(
        f"{gateway.name} was never ready; its log ends: {log.read_text(errors='replace')[-1500:]}"
    )


@contextmanager
def running(gateway: Gateway, mock: Mock) -> Iterator[Running]:
    directory = OUT / "run" / gateway.name.lower()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    started = open_gateway(gateway, directory, mock)
    try:
        yield started
    finally:
        accounting.stop(started.process)


# ---------------------------------------------------------------- legs


def _closed(target: load.Target, pid: int, mock: Mock, duration_s: float) -> Figures:
    """One window of closed load: CPU per request of the tree of `pid`, rate, and how busy the other core was."""
    mock.script(STREAM_EVENTS, 0)

    def load_core_s() -> float:
        beside = 0.0 if pid == mock.process.pid else accounting.cpu_s(mock.process.pid)
        return time.process_time() + beside

    cpu_s, load_s = accounting.cpu_s(pid), load_core_s()
    tally = uvloop.run(load.closed(target, connections=CONNECTIONS, duration_s=duration_s))
    load_s = load_core_s() - load_s
    time.sleep(SETTLE_S)
    _same_count(mock.counts()["requests"], tally.count)
    return {
        "requests": tally.count,
        "cpu_us": (accounting.cpu_s(pid) - cpu_s) / tally.count * 1e6,
        "per_s": tally.count / tally.wall_s,
        "p50_ms": tally.quantile_ms(0.5),
        "p99_ms": tally.quantile_ms(0.99),
        "load_core_busy": load_s / tally.wall_s,
    }


def _same_count(mock_saw: int, callers_saw: int) -> None:
    if mock_saw != callers_saw:
        raise BenchError(f"the mock was asked {mock_saw} times for {callers_saw} answers to callers")


def whole_leg(target: load.Target, pid: int, mock: Mock, effort: Effort) -> Figures:
    """The middle one of several windows by CPU: one disturbed by the machine cannot decide."""
    uvloop.run(load.closed(target, connections=CONNECTIONS, duration_s=effort.warm_s))
    windows = [_closed(target, pid, mock, effort.closed_s) for _ in range(effort.rounds)]
    middle = sorted(windows, key=lambda figures: float(figures["cpu_us"]))[len(windows) // 2]
    return middle | {"cpu_us_windows": [round(window["cpu_us"], 1) for window in windows]}


def paced_leg(target: load.Target, pid: int, mock: Mock, effort: Effort) -> Figures:
    mock.script(STREAM_EVENTS, 0)
    cpu_s = accounting.cpu_s(pid)
    tally = uvloop.run(load.paced(target, rate=RATE, duration_s=effort.paced_s, connections=CONNECTIONS))
    time.sleep(SETTLE_S)
    return {
        "cpu_us": (accounting.cpu_s(pid) - cpu_s) / tally.count * 1e6,
        "p50_ms": tally.quantile_ms(0.5),
        "p99_ms": tally.quantile_ms(0.99),
    }


def streams_leg(request: bytes, running_: Running, mock: Mock, count: int) -> Figures:
    """All streams at once, their events apart in time, so that each is a read and a write of its own."""
    mock.script(STREAM_EVENTS, STREAM_GAP_MS)
    pid = running_.process.pid
    cpu_s = accounting.cpu_s(pid)
    target = load.Target(running_.port, request, bodies.MARK.split()[0].encode())
    tally = uvloop.run(
        load.streams(target, count=count, rounds=1, spread_s=STREAM_GAP_MS / 1000, timeout_s=90)
    )
    rss_mb = accounting.rss_mb(pid)
    time.sleep(SETTLE_S)
    counts = mock.counts()
    _same_count(counts["requests"], count)
    if tally.events < count * STREAM_EVENTS:
        raise BenchError(f"{tally.events} events reached the callers of {count} streams of {STREAM_EVENTS}")
    return {
        "streams": count,
        "events": counts["events"],
        "cpu_us_per_event": (accounting.cpu_s(pid) - cpu_s) / counts["events"] * 1e6,
        "first_event_p50_ms": statistics.median(tally.first_event) * 1000,
        "wall_s": tally.wall_s,
        "rss_mb": rss_mb,
    }


# ---------------------------------------------------------------- the run


def yardstick(mock: Mock, effort: Effort) -> Figures:
    """The mock in the gateway's place: its own CPU per request says what this machine gives for a microsecond."""
    accounting.move(mock.process.pid, GATEWAY_CORE)
    try:
        return whole_leg(_direct_target(mock), mock.process.pid, mock, effort)
    finally:
        accounting.move(mock.process.pid, LOAD_CORE)


def _direct_target(mock: Mock) -> load.Target:
    return load.Target(mock.port, Leg(gateways.RELAY, "gpt-bench").request(stream=False))


def direct(mock: Mock, effort: Effort) -> Figures:
    """The same load without a gateway between."""
    return {
        "whole": yardstick(mock, effort),
        "paced": paced_leg(_direct_target(mock), mock.process.pid, mock, effort),
    }


def measure(gateway: Gateway, mock: Mock, effort: Effort, beside: Figures) -> Figures:
    ready = []
    for _ in range(effort.starts - 1):
        with running(gateway, mock) as started:
            ready.append(started.ready_s)
    with running(gateway, mock) as started:
        ready.append(started.ready_s)
        time.sleep(1.0)  # what a start leaves to do is done, and is not counted as idle
        figures: Figures = {
            "version": gateway.version(),
            "language": gateway.language,
            "features": gateway.features,
            "ready_s": statistics.median(ready),
            "rss_idle_mb": accounting.rss_mb(started.process.pid),
            "legs": {
                leg.crossing: _leg(gateway, leg, started, mock, effort) for leg in gateway.legs(mock.port)
            },
        }
        if gateway.paced:
            target = load.Target(started.port, gateway.legs(mock.port)[0].request(stream=False))
            paced = paced_leg(target, started.process.pid, mock, effort)
            figures["paced"] = paced | {
                "added_p50_ms": paced["p50_ms"] - beside["paced"]["p50_ms"],
                "added_p99_ms": paced["p99_ms"] - beside["paced"]["p99_ms"],
            }
        figures["rss_loaded_mb"] = accounting.rss_mb(started.process.pid)
    return figures


def _leg(gateway: Gateway, leg: Leg, started: Running, mock: Mock, effort: Effort) -> Figures:
    """One crossing, whole and streamed. One that fails says why and does not hide the others."""
    figures: Figures = {}
    try:
        target = load.Target(started.port, leg.request(stream=False))
        figures["whole"] = whole_leg(target, started.process.pid, mock, effort)
        figures["streamed"] = streams_leg(leg.request(stream=True), started, mock, gateway.streams)
    except (load.LoadError, BenchError, OSError) as error:
        figures["failed"] = str(error)[:500]
        print(f"  {gateway.name}, {leg.crossing}: {figures['failed']}", flush=True)
    return figures


def machine() -> Figures:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def chosen(names: str) -> list[Gateway]:
    wanted = [name for name in names.lower().split(",") if name]
    known = {gateway.name.lower() for gateway in gateways.ALL}
    if set(wanted) - known:
        raise BenchError(
            f"no such gateway: {', '.join(sorted(set(wanted) - known))}; there are {sorted(known)}"
        )
    return [gateway for gateway in gateways.ALL if not wanted or gateway.name.lower() in wanted]


def run(selected: list[Gateway], *, quick: bool, with_install: bool) -> Figures:
    os.sched_setaffinity(0, {LOAD_CORE})
    full = QUICK if quick else FULL
    results: Figures = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "calibration_us": accounting.calibration_us(),
        "gateways": {},
        "absent": [],
    }
    (OUT / "run").mkdir(parents=True, exist_ok=True)
    before = (time.monotonic(), *accounting.machine_s(), accounting.own_s())
    with mock_provider(OUT / "run") as mock:
        print("direct", flush=True)
        results["direct"] = direct(mock, full)
        for gateway in selected:
            if not gateway.program.exists():
                results["absent"].append(gateway.name)
                continue
            print(gateway.name, flush=True)
            effort = full if gateway is gateways.TORANA else PEER
            try:
                results["gateways"][gateway.name] = measure(gateway, mock, effort, results["direct"])
            except (BenchError, OSError) as error:
                results["gateways"][gateway.name] = {"failed": str(error)[:2000]}
                print(f"  {error}", flush=True)
            if gateway is gateways.TORANA:
                again = yardstick(mock, full)["cpu_us"]  # on both sides of what the ratchet measures by it
                results["yardstick_us"] = (results["direct"]["whole"]["cpu_us"] + again) / 2
    results["disturbance"] = _disturbance(before)
    results["footprint"] = footprint.measure(OUT / "install", with_install=with_install)
    return results


def _disturbance(before: tuple[float, ...]) -> Figures:
    """Cores that others used while we measured: processes that are not ours, and the host under us."""
    after = (time.monotonic(), *accounting.machine_s(), accounting.own_s())
    wall_s, busy_s, stolen_s, own_s = (late - early for late, early in zip(after, before, strict=True))
    return {"others_cores": max(0.0, busy_s - own_s) / wall_s, "stolen_cores": stolen_s / wall_s}


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", default="", help="names with commas between them; all by default")
    options.add_argument("--quick", action="store_true", help="shorter windows: for a look, not for a table")
    options.add_argument("--urgent", action="store_true", help="before all other processes (needs root)")
    options.add_argument(
        "--no-install", action="store_true", help="leave out the size of a fresh installation"
    )
    options.add_argument("--out", type=Path, default=OUT / "latest.json", help="the Markdown goes beside it")
    return options.parse_args()


def main() -> None:
    options = _options()
    if (os.cpu_count() or 1) < 2 or sys.platform != "linux":
        sys.exit("the benchmark needs Linux and two cores: one for the gateway, one for everything else")
    began = time.monotonic()
    if options.urgent:
        accounting.hurry()
    try:
        results = run(chosen(options.only), quick=options.quick, with_install=not options.no_install)
    except (BenchError, load.LoadError) as error:
        sys.exit(str(error))
    results["took_s"] = round(time.monotonic() - began)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(report.markdown(results))
    print(report.markdown(results))
    print(f"written to {os.path.relpath(options.out)} in {results['took_s']} s")


if __name__ == "__main__":
    main()
