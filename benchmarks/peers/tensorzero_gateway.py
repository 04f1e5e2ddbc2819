"""Runs TensorZero's HTTP gateway out of its Python package, which ships no program for it.

The package holds the whole gateway as a library and starts it on a free port of 127.0.0.1 (it does so itself to
stand behind an OpenAI client). Python only waits here: no request passes through it. Run by the peer's own
environment: `python tensorzero_gateway.py tensorzero.toml`.
"""

import signal
import sys

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
