# Two commands for everybody: make serve, make test. Each sets up what it needs; a changed lock sets it up again.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 ; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break ; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: serve test check bench bench-check bench-peers docs models lock clean

serve: $(VENV)/.serve ## run the gateway on 127.0.0.1:8080 (ARGS="--config torana.yaml" for more)
	$(BIN)/torana serve $(ARGS)

test: $(VENV)/.dev ## everything that judges the code (ARGS="tests/net -x" for a part)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(VENV)/.dev ## style, types, import floors, documentation
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/generate_catalog.py --check
	$(BIN)/python scripts/generate_models.py --check
	$(BIN)/python -m pytest -q tests/docs

bench: $(VENV)/.dev ## measure CPU, latency, memory and size, beside the peers that are installed
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-check: $(VENV)/.dev ## compare this machine's ratios with the ratchet
	$(BIN)/python -m benchmarks.run --only torana --quick --out benchmarks/out/check.json
	$(BIN)/python -m benchmarks.check benchmarks/out/check.json $(ARGS)

bench-peers: ## install the gateways we measure ourselves against, each in its own environment
	PYTHON=$(PYTHON) bash benchmarks/peers/install.sh

docs: $(VENV)/.dev ## rewrite the generated tables of docs/
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/generate_catalog.py

models: $(VENV)/.dev ## rewrite the model data from its sources
	$(BIN)/python scripts/generate_models.py

lock: ## resolve the locks anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -o requirements.lock pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -c requirements.lock -o requirements-dev.lock pyproject.toml --group test --group check --group build

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Torana needs Python 3.11 or newer; none was found. Set PYTHON=/path/to/python3" >&2 ; exit 1 ; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements.lock
	$(BIN)/python scripts/link.py
	touch $@

$(VENV)/.dev: requirements.lock requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(BIN)/python scripts/link.py
	touch $@ $(VENV)/.serve
