# Every target makes what it needs: a virtual environment of its own, from requirements.lock.
# The stamp below is older than nothing but the lock and pyproject.toml, so a second call installs nothing.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2

# Nothing here phones home, and the environment of the person calling decides nothing.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export FEAST_USAGE := False
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONSAFEPATH := 1
unexport PYTHONPATH PYTHONHOME

.PHONY: help install demo test test-all check format bench lock web clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## the virtual environment, from the lock

# The lock is complete, so nothing is resolved. Only torch is looked at again with its dependencies:
# some platforms' builds ask for packages that the CPU build does not.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "parquet2vec needs Python 3.11 or newer: none found" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("parquet2vec needs Python 3.11 or newer, found " + sys.version.split()[0])'
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(PIP) install --no-deps -r requirements.lock
	$(PIP) install -c requirements.lock "$$(grep '^torch==' requirements.lock)"
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PIP) check
	@touch $@

demo: $(STAMP)  ## New York flights, end to end, with the report: build/demo
	$(BIN)/parquet2vec demo --out build/demo

test: $(STAMP)  ## the tests, without those marked slow or chaos
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not chaos"

test-all: $(STAMP)  ## every test
	$(BIN)/pytest -n $(WORKERS)

check: $(STAMP)  ## ruff, mypy --strict, import contracts, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:randomly --doctest-modules pipeline training export flows

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## every script in benchmarks/
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

lock: $(STAMP)  ## resolve pyproject.toml again and write requirements.lock

web: tests/web/node_modules/.package-lock.json  ## ONNX Runtime for the web, for the tests that run bundles under Node

tests/web/node_modules/.package-lock.json: tests/web/package.json tests/web/package-lock.json
	cd tests/web && npm ci --ignore-scripts --no-audit --no-fund

clean:  ## remove everything that is not in the repository
	rm -rf build dist $(VENV) tests/web/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
