# Every target sets up what it needs in a venv of its own. `make check` is the whole gate.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUITE_VENV := .venv-falcon-suite
BENCH_VENV := .venv-bench
PARALLEL := -n 4 --dist worksteal  # the tests wait more than they compute

.PHONY: demo demo-cluster test check lint types suite wheel matrix autobahn soak fuzz bench bench-cluster clean

demo: $(READY)  ## serve the chat on http://127.0.0.1:8000
	$(BIN)/python -m examples.chat

demo-cluster: $(READY)  ## serve the chat on three processes behind one Redis (REDIS_URL, or redis-server is started)
	$(BIN)/python -m examples.cluster

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -q $(PARALLEL)

check: lint types test suite wheel  ## all that a change has to pass

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

suite: $(SUITE_VENV)/.ready  ## Falcon's own tests, with the library in every app that they build
	$(SUITE_VENV)/bin/python tests/falcon_suite/run.py

wheel: $(READY)  ## build the wheel; run the README's example on it, alone in a new venv
	$(BIN)/python tests/wheel/check.py

bench: $(BENCH_VENV)/.ready  ## measure: ratios in one run against a named base (BENCH_OPTIONS=--quick, --write)
	$(BENCH_VENV)/bin/python -m benchmarks all $(BENCH_OPTIONS)

bench-cluster: $(BENCH_VENV)/.ready  ## of these, what goes through Redis (it needs redis-server)
	$(BENCH_VENV)/bin/python -m benchmarks cluster $(BENCH_OPTIONS)

matrix:  ## the tests on every supported Python that is here, and on the oldest Falcon
	bash tests/matrix.sh

autobahn: $(READY)  ## the WebSocket protocol's own cases, through the library and without it
	$(BIN)/python tests/autobahn/run.py

soak: $(READY)  ## long runs: a flood, clients that never read, thousands that come and go
	$(BIN)/python -m tests.soak all

fuzz: $(READY)  ## more examples of hostile input than `make test` tries
	FUZZ_PROFILE=long $(BIN)/python -m pytest -q --timeout 1200 tests/test_fuzz.py

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "falcon_ws_mw needs Python 3.11 or later; say which with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

$(SUITE_VENV)/.ready: pyproject.toml tests/falcon_suite/requirements.txt
	$(PYTHON) -m venv $(SUITE_VENV)
	$(SUITE_VENV)/bin/python -m pip install --quiet --editable . falcon==4.4.0 --requirement tests/falcon_suite/requirements.txt
	touch $@

$(BENCH_VENV)/.ready: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable . --requirement benchmarks/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(SUITE_VENV) $(BENCH_VENV) .cache dist build .mypy_cache .pytest_cache .ruff_cache
