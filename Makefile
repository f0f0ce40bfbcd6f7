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
TRAINERS := .venv-trainers
TOOLS   := .venv-tools
SITE    := .venv-site
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

.PHONY: help install demo example test chaos check format docs pages peers trainers bench lock sbom audit web clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP)  ## the virtual environment, from the lock

# The lock is complete, so nothing is resolved, and a file whose hash is not in it is refused. Only
# torch comes by its version, together with what it requires: each machine has a build of its own,
# which may need packages that the CPU build does not (docs/adr/0013).
$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(find_python); "$$python" -m venv --clear $(VENV); }
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	@grep -oE '^[A-Za-z0-9._-]+==[^ ;]+' requirements.lock > $(VENV)/versions.txt
	$(PIP) install -c $(VENV)/versions.txt "$$(grep -oE 'torch==[0-9.]+' pyproject.toml)"
	$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

demo: $(STAMP)  ## New York flights, end to end, with the report, in build/demo
	$(BIN)/parquet2vec demo --out build/demo

example: $(STAMP)  ## one of the projects in examples: NAME=aircraft, digits or events, in build/examples
	@test -f examples/$(NAME)/run.py || { echo "say which: make example NAME=aircraft, NAME=digits or NAME=events" >&2; exit 2; }
	@rm -rf build/examples/$(NAME)
	MPLBACKEND=Agg $(BIN)/python examples/$(NAME)/run.py build/examples/$(NAME)

test: $(STAMP)  ## the tests, without those marked slow or chaos
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not chaos"

# The same SEED does the same things at the same moments; the figures stand at the end.
SEED ?= 1
chaos: $(STAMP)  ## what "make test" leaves out: kills, broken disks, power loss, races; SEED=1
	CHAOS_SEED=$(SEED) $(BIN)/pytest -n $(WORKERS) -m "slow or chaos"

check: $(STAMP)  ## ruff, mypy --strict, import contracts, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:randomly --doctest-modules pipeline training export flows

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Strict: a link or an anchor that leads to nothing fails. Nothing in the pages comes from a network.
# The script imports its neighbour, so the safe path is off.
docs: export PYTHONSAFEPATH :=
docs: $(SITE)/installed  ## the documentation as a site, in build/site/html
	$(BIN)/python website/gather.py build/site
	cd build/site && ../../$(SITE)/bin/zensical build --strict --clean

$(SITE)/installed: website/requirements.lock | $(STAMP)
	$(BIN)/python -m venv --clear $(SITE)
	$(SITE)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r $<
	@$(SITE)/bin/python -m pip check
	@touch $@

pages: $(STAMP)  ## the code blocks and examples of the documentation that "make test" leaves out
	$(BIN)/pytest -n $(WORKERS) -m slow tests/docs

# Other engines live apart: what they pin does not fit beside our own lock.
peers: $(PEERS)/installed  ## other engines to measure against; CLUSTER=1 adds Ray and Spark

$(PEERS)/installed: benchmarks/peers.txt benchmarks/peers-cluster.txt | $(STAMP)
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r benchmarks/peers.txt \
		$(if $(CLUSTER),-r benchmarks/peers-cluster.txt)
	@$(PEERS)/bin/python -m pip check
	@touch $@

# TensorFlow alone is over half a gigabyte. torch first, with what this machine's build requires.
trainers: $(TRAINERS)/installed  ## other trainers for benchmarks/training_cost.py: pytorch_tabular, row2vec

$(TRAINERS)/installed: benchmarks/peers-training.txt | $(STAMP)
	$(BIN)/python -m venv --clear $(TRAINERS)
	$(TRAINERS)/bin/python -m pip --disable-pip-version-check --quiet install -c $< "$$(grep -oE '^torch==[0-9.]+' $<)"
	$(TRAINERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<
	@$(TRAINERS)/bin/python -m pip check
	@touch $@

# A look in ten minutes; SCALE=1 ROUNDS=5 is the measurement in docs/benchmarks.
# The scripts import their neighbours, so the safe path is off.
SCALE  ?= 0.2
ROUNDS ?= 3
bench: export PYTHONSAFEPATH :=
bench: $(PEERS)/installed  ## throughput; SCALE=1 ROUNDS=5 in full; TABLES=FOLDER adds the quality of embeddings, MNIST=FOLDER the anchors
	$(BIN)/python benchmarks/throughput.py --scale $(SCALE) --rounds $(ROUNDS) --out build/benchmarks
	$(if $(TABLES),$(BIN)/python benchmarks/quality.py $(TABLES) --out build/benchmarks)
	$(if $(MNIST),$(BIN)/python benchmarks/classics.py $(MNIST) --out build/benchmarks)

# Versions already in the lock are kept where they still fit; LOCK_FLAGS=--upgrade takes the newest.
# A torch that is not the CPU build would bring gigabytes of CUDA to everybody: refused. Its hash is
# that of one machine's build, so it is left out. Minutes, the first time: every file is hashed.
lock: $(STAMP)  ## resolve pyproject.toml and write requirements.lock
	@mkdir -p build && cp requirements.lock build/requirements.lock
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --all-extras --strip-extras \
		--unsafe-package pip --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(LOCK_FLAGS) \
		--output-file build/requirements.lock pyproject.toml
	@! grep -E '^(nvidia|cuda|triton)[a-z0-9-]*==' build/requirements.lock || \
		{ echo "pip found a CUDA build of torch; let it find the CPU build (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL)" >&2; exit 1; }
	@! grep -E '://| @ |^-' build/requirements.lock || { echo "the lock must name no host and no path" >&2; exit 1; }
	sed -e '/^torch==/,/^    # via/d' -e '/^# WARNING/,$$d' build/requirements.lock > requirements.lock
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(LOCK_FLAGS) \
		--output-file website/requirements.lock website/requirements.in

# In an environment of their own: nothing of ours needs them.
$(TOOLS)/installed: | $(STAMP)
	$(BIN)/python -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

sbom: $(TOOLS)/installed  ## a software bill of materials (CycloneDX JSON) of the environment, in build
	@mkdir -p build
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --no-validate \
		--output-reproducible --output-format JSON --output-file build/sbom.json

# Strict, because otherwise pip-audit finds no vulnerabilities where it could ask nobody.
audit: $(TOOLS)/installed  ## known vulnerabilities of what the lock names
	@mkdir -p build
	@{ grep -oE '^[A-Za-z0-9._-]+==[^ ;]+' requirements.lock; grep -oE 'torch==[0-9.]+' pyproject.toml; } > build/audited.txt
	@$(TOOLS)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
		--requirement build/audited.txt $(AUDIT_FLAGS) || { echo "either a vulnerability is named above, or no source of \
	vulnerabilities could be reached, and then nothing was audited" >&2; exit 1; }

web: tests/web/node_modules/.package-lock.json  ## ONNX Runtime Web, for the tests that run bundles under Node

tests/web/node_modules/.package-lock.json: tests/web/package.json tests/web/package-lock.json
	cd tests/web && npm ci
	@touch $@

clean:  ## remove what make has made
	rm -rf $(VENV) $(PEERS) $(TRAINERS) $(TOOLS) $(SITE) build dist tests/web/node_modules
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
