"""What the operating system says a process tree used: CPU, memory, start-up. Linux's /proc is the witness.

No process is asked about itself. Knows nothing of what the processes do.
"""

import atexit
import os
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_S = 10.0  # a gateway drains live streams; after that it is killed


def _stat(pid: int) -> list[str]:
    """Fields of proc_pid_stat(5) from the third on: the second, the name, may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children[int(_stat(int(entry))[1])].append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return found


def cpu_s(root: int) -> float:
    """User and system time of the tree since it began: all threads, living children and reaped ones."""
    ticks = 0
    for pid in tree(root):
        try:
            ticks += sum(int(field) for field in _stat(pid)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / _TICKS_PER_S


def rss_mb(root: int) -> float:
    """Resident memory of the tree, in MB of 10^6 bytes."""
    total_kib = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total_kib * 1024 / 1e6


def start(
    command: list[str], *, core: int, log: Path, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    """Starts a command pinned to one core, output to `log`. It inherits nothing secret: only PATH and HOME."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited | environment,
            cwd=log.parent,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )


def move(root: int, core: int) -> None:
    """Pins a running tree, with all its threads, to another core."""
    for pid in tree(root):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process that start() began and what it left behind, by their ids."""
    family = tree(process.pid)[1:]
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def hurry() -> None:
    """Runs this process and what it will start before all others, until it exits. Needs root.

    Where sessions are scheduled as groups, niceness counts only within one, so the group's is set too: sched(7).
    """
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    group = Path("/proc/self/autogroup")
    if group.exists():
        before = group.read_text().split()[-1]
        group.write_text("-20")
        atexit.register(group.write_text, before)


def machine_s() -> tuple[float, float]:
    """CPU the whole machine has used, and CPU that its host took from it (proc_stat(5)), in seconds since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq) / _TICKS_PER_S, steal / _TICKS_PER_S


def own_s() -> float:
    """CPU of this process and of every child it has waited for."""
    return sum(os.times()[:4])


def calibration_us() -> float:
    """CPU of one turn of a fixed piece of Python, least of 30: how fast this machine runs the interpreter today."""

    def turn() -> int:
        table = {f"name-{index}": index * 7 for index in range(50)}
        text = ",".join(f"{name}={value}" for name, value in sorted(table.items()))
        return sum(len(part.partition("=")[2]) for part in text.split(","))

    best = float("inf")
    for _ in range(30):
        began = time.process_time()
        for _ in range(200):
            turn()
        best = min(best, time.process_time() - began)
    return best / 200 * 1e6
