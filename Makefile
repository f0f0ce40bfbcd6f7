# Every target makes what it needs: a virtual environment of its own, from requirements.lock.
# The stamp depends on the lock and on pyproject.toml alone, so a second call installs nothing.

SHELL         := /bin/bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/installed
PEERS   := .venv-peers
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2

# The first one that starts: a version manager's shim can be there and still refuse.
find_python = for python in $(PYTHON) python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	test -n "$$python" || { echo "parquet2vec needs Python 3.11 or newer and found none; install it, or call make PYTHON=/path/to/it" >&2; exit 1; }

# Nothing phones home, and what is set outside does not choose which code is imported.
export DO_NOT_TRACK := 1
export FEAST_USAGE := False
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export PYTHONSAFEPATH := 1
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

.PHONY: help install demo test chaos check format peers bench lock web clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP)  ## the virtual environment, from the lock

# The lock is complete, so nothing is resolved. Only torch is looked at again together with what it
# requires: the build that a machine is given may need packages that the CPU build does not.
$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(find_python); "$$python" -m venv --clear $(VENV); }
	$(PIP) install --no-deps -r requirements.lock
	$(PIP) install -c requirements.lock "$$(grep -o '^torch==[0-9.]*' requirements.lock)"
	$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

demo: $(STAMP)  ## New York flights, end to end, with the report, in build/demo
	$(BIN)/parquet2vec demo --out build/demo

test: $(STAMP)  ## the tests, without those marked slow or chaos
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not slow and not chaos"

# The same SEED does the same things at the same moments; the figures stand at the end.
SEED ?= 1
chaos: $(STAMP)  ## what "make test" leaves out: kills, broken disks, power loss, races; SEED=1
	CHAOS_SEED=$(SEED) $(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "slow or chaos"

check: $(STAMP)  ## ruff, mypy --strict, import contracts, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:randomly --doctest-modules pipeline training export flows

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Other engines live apart: what they pin does not fit beside our own lock.
peers: $(PEERS)/installed  ## other engines to measure against; CLUSTER=1 adds Ray and Spark

$(PEERS)/installed: benchmarks/peers.txt benchmarks/peers-cluster.txt | $(STAMP)
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r benchmarks/peers.txt \
		$(if $(CLUSTER),-r benchmarks/peers-cluster.txt)
	@$(PEERS)/bin/python -m pip check
	@touch $@

# A look in ten minutes; SCALE=1 ROUNDS=5 is the measurement in docs/benchmarks.
# The scripts import their neighbours, so the safe path is off.
SCALE  ?= 0.2
ROUNDS ?= 3
bench: export PYTHONSAFEPATH :=
bench: $(PEERS)/installed  ## throughput; SCALE=1 ROUNDS=5 in full; TABLES=FOLDER adds the quality of embeddings
	$(BIN)/python benchmarks/throughput.py --scale $(SCALE) --rounds $(ROUNDS) --out build/benchmarks
	$(if $(TABLES),$(BIN)/python benchmarks/quality.py $(TABLES) --out build/benchmarks)

# Versions already in the lock are kept where they still fit; LOCK_FLAGS=--upgrade takes the newest.
# A torch that is not the CPU build would bring gigabytes of CUDA to everybody: refused.
lock: $(STAMP)  ## resolve pyproject.toml and write requirements.lock
	@mkdir -p build && cp requirements.lock build/requirements.lock
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --all-extras --strip-extras --unsafe-package pip \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(LOCK_FLAGS) \
		--output-file build/requirements.lock pyproject.toml
	@! grep -E '^(nvidia|cuda|triton)[a-z0-9-]*==' build/requirements.lock || \
		{ echo "pip found a CUDA build of torch; let it find the CPU build (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL)" >&2; exit 1; }
	@! grep -E '://| @ |^-' build/requirements.lock || { echo "the lock must name no host and no path" >&2; exit 1; }
	sed -E 's/^(torch==[0-9.]+)\+cpu$$/\1/' build/requirements.lock > requirements.lock

web: tests/web/node_modules/.package-lock.json  ## ONNX Runtime Web, for the tests that run bundles under Node

tests/web/node_modules/.package-lock.json: tests/web/package.json tests/web/package-lock.json
	cd tests/web && npm ci
	@touch $@

clean:  ## remove what make has made
	rm -rf $(VENV) $(PEERS) build dist tests/web/node_modules
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
