"""What Torana weighs before the first request: the import of its library, and a fresh installation.

Knows nothing of running gateways.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INSTALL_S_MAX = 180
PACKAGES_MAX, MB_MAX = 15, 40  # the targets of the project for its core
_STARTS = 9
_IMPORT = (
    "import time; began = time.perf_counter(); import torana.translate; print(time.perf_counter() - began)"
)
# Not ru_maxrss: a child's begins at what its parent held when it forked.
_MEMORY = "print(next(line for line in open('/proc/self/status') if line.startswith('VmRSS')).split()[1])"
# Every file of every installed distribution but the installer's own, as their RECORD files list them.
_WEIGH = """
import importlib.metadata, json
own = [d for d in importlib.metadata.distributions() if d.name not in ("pip", "setuptools")]
files = {d.locate_file(f) for d in own for f in d.files or ()}
print(json.dumps({"packages": sorted(d.name for d in own),
                  "mb": sum(f.stat().st_size for f in files if f.is_file()) / 1e6}))
"""


def interpreter() -> dict[str, float]:
    """Start-up time (least of several) and memory of Python with nothing to do: yardsticks for our own."""
    times = []
    for _ in range(_STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        times.append(time.perf_counter() - began)
    told = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, check=True).stdout
    least = min(times)
    return {"interpreter_s": least, "interpreter_ms": least * 1000, "interpreter_mb": int(told) * 1024 / 1e6}


def import_ms() -> float:
    """The least of several fresh interpreters: the time of the import statement alone, bytecode cached."""
    times = [
        float(subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, check=True).stdout)
        for _ in range(_STARTS)
    ]
    return min(times) * 1000


def installation(directory: Path) -> dict[str, Any]:  # {"packages": [name, ...], "mb": number}
    """`pip install` of this checkout, without any development tool, into an environment of its own."""
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=INSTALL_S_MAX)
    python = str(directory / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_S_MAX)
    weighed: dict[str, Any] = json.loads(
        subprocess.run([python, "-c", _WEIGH], check=True, capture_output=True).stdout
    )
    return weighed


def measure(directory: Path, *, with_install: bool) -> dict[str, Any]:  # what could be measured, or "failed"
    figures: dict[str, Any] = {"packages_max": PACKAGES_MAX, "mb_max": MB_MAX, **interpreter()}
    try:
        figures["import_ms"] = import_ms()
        if with_install:
            figures |= installation(directory)
    except subprocess.SubprocessError as error:
        told = getattr(error, "stderr", None) or b""
        figures["failed"] = f"{error}: {told.decode(errors='replace')[-400:]}"
    return figures
