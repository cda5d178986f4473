# make serve | test | check | bench | gallery | faults | nodes | parity | image | lock      (HOST=127.0.0.1 PORT=8000 METRICS_PORT=9464 for serve)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Nothing is written to the home directory; pip's own warnings about newer versions do not help a newcomer.
PIP := PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet install

# HOST only from make's own command line: some systems export it as the machine's name.
ADDRESS := $(if $(filter command,$(firstword $(origin HOST))),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(if $(METRICS_PORT),--metrics-port $(METRICS_PORT))

# pip, also inside `python -m venv`, asks for rustc's version, and rustup's stand-in for rustc would make itself at home.
export RUSTUP_HOME := $(CURDIR)/$(VENV)/rustup

.PHONY: serve test check bench gallery faults nodes parity image lock clean

serve: $(VENV)/runtime
	@exec $(BIN)/faceswap serve $(ADDRESS)

test: $(VENV)/test check
	@$(BIN)/faceswap models prepare
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/bench
	$(BIN)/faceswap models prepare
	$(BIN)/python -m benchmarks $(NAME) $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

gallery: $(VENV)/test
	$(BIN)/python -m benchmarks.gallery $(ARGS)

faults: $(VENV)/test
	$(BIN)/python -m tests.faults --seconds $(or $(SECONDS),300) $(ARGS)

nodes: $(VENV)/test
	$(BIN)/python -m tests.nodes --seconds $(or $(SECONDS),300) $(ARGS)

parity: $(VENV)/test
	$(BIN)/python -m benchmarks.parity $(ARGS)

image: $(VENV)/test
	$(BIN)/python -m tests.container $(ARGS)

# Hashes only, no addresses. The three left out are twins or tools that must not be installed: see requirements/runtime.in.
lock:
	$(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/python -m pip --quiet install uv
	for name in runtime test bench gpu; do $(VENV)/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-package opencv-python --no-emit-package onnxruntime --no-emit-package openvino-telemetry \
	  requirements/$$name.in --output-file requirements/$$name.txt || exit 1; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "faceswap-serve needs Python 3.11, 3.12 or 3.13; name one with PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "installing the locked packages into $(VENV): about 700 MB to fetch, 1.6 GB on the disk, once"
	@$(PIP) --no-deps --require-hashes -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/test: requirements/test.txt $(VENV)/runtime
	@$(PIP) --no-deps --require-hashes -r requirements/test.txt
	@touch $@

$(VENV)/bench: requirements/bench.txt $(VENV)/test
	@$(PIP) --no-deps --require-hashes -r requirements/bench.txt
	@touch $@

clean:
	rm -rf $(VENV)
