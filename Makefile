# sparsweep: `make demo` and `make test` do all the set-up that they need; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
DEMO ?= results/demo
MINI ?= results/paper-mini
EXAMPLES ?= 1000
ANY_INPUT := tests/orchestrator/test_any_input.py tests/workers/data/test_any_corpus.py
MINI_SETTINGS = --set 'results=$(MINI)' $(if $(WIKIANN),--set 'corpus.path=$(WIKIANN)') \
  $(if $(ENCODER),--set 'model.name=$(ENCODER)')

unexport PYTHONDONTWRITEBYTECODE # tests whose compiled form is not kept take many seconds to load

TWO_AT_A_TIME := -n 2 # tests, on two cores; tests/conftest.py says which

.DEFAULT_GOAL := help
.PHONY: help demo paper-mini check lint test-quick browser test test-slurm test-kubernetes test-image test-gpu chaos fuzz bench bench-gpu \
  bench-peers bench-statistics bench-sweep lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "$(PYTHON): Python 3.11 to 3.13 is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; install it, for example: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]' || \
	  { echo "pip could not install the packages in requirements.lock; is the package index reachable?" >&2; exit 2; }
	@touch $@

# A peer needs numpy before 2, so peers have an environment of their own. setuptools: it imports pkg_resources.
$(PEERS_READY): pyproject.toml requirements-peers.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || \
	  { echo "$(PYTHON): numpy before 2 needs Python 3.11 or 3.12; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements-peers.lock \
	  -e '.[peers]' setuptools || \
	  { echo "a peer could not be installed; its row will say so" >&2; \
	    $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e . 'accelerate>=1.0'; } || \
	  { echo "pip could not install the packages in requirements-peers.lock" >&2; exit 2; }
	@touch $@

demo: $(READY) ## run the built-in smoke sweep on this machine and print its table (about 2 minutes)
	$(BIN)/sparsweep run smoke --set results=$(DEMO)

paper-mini: $(READY) ## the paper's questions on a small scale, a night on 2 cores (WIKIANN=folder ENCODER=folder; else the hub)
	for sweep in mono multi layer dense; do \
	  $(BIN)/sparsweep run paper-mini-$$sweep $(MINI_SETTINGS) || [ $$? -eq 3 ] || exit; \
	done # trials that failed are holes in the tables
	$(BIN)/sparsweep analyze $(MINI)

check: $(READY) ## what to run after every change: style, types and the quick tests (about a minute on 2 cores)
	@$(MAKE) --no-print-directory -j 2 lint test-quick

lint: $(READY) ## check style, formatting and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy

test-quick: $(READY) ## run the tests that start no Ray, train nothing, need no server and take a moment
	@$(BIN)/python -m pytest -q -m 'not slow' $(TWO_AT_A_TIME) $(PYTEST_ARGS)

browser: ## install Debian's Chromium, in which tests open the report (root on Debian)
	@test -x /usr/bin/chromium || { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
	  --no-install-recommends chromium; }

test: $(READY) ## run all tests, but those of Slurm, Kubernetes, the image and GPUs
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) $(PYTEST_ARGS)

test-slurm: $(READY) ## start a real Slurm of two nodes on this machine and run sweeps on it (root on Debian; about 15 minutes)
	SPARSWEEP_REQUIRE_SLURM=1 $(BIN)/python -m pytest tests/integration/slurm $(PYTEST_ARGS)

test-kubernetes: $(READY) ## run sweeps on a Kubernetes cluster with KubeRay (SPARSWEEP_KUBE_CONTEXT=… SPARSWEEP_IMAGE=… SPARSWEEP_KUBE_CLAIM=…, a claim with ReadWriteMany)
	$(BIN)/python -m pytest -m kubernetes tests/integration/kubernetes $(PYTEST_ARGS)

test-image: $(READY) ## build the image with podman and run a sweep in it, without a network (root on Debian; 10 GB of disk; about 10 minutes)
	SPARSWEEP_REQUIRE_IMAGE=1 $(BIN)/python -m pytest tests/integration/image $(PYTEST_ARGS)

test-gpu: $(READY) ## run the tests that need a GPU, on a machine that has one
	$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("no GPU that torch can use")'
	$(BIN)/python -m pytest -m gpu -n 4 tests/workers $(PYTEST_ARGS)

chaos: $(READY) ## disturb sweeps at random and compare their numbers (5 minutes; CHAOS_ARGS='--seed 1 --minutes 60')
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

fuzz: $(READY) ## read files and options made at random, 380 inputs an example (EXAMPLES=1000; 3 minutes on a core)
	SPARSWEEP_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q --timeout=0 $(ANY_INPUT) $(PYTEST_ARGS)

bench: $(READY) ## test the kernels, then measure what RESULTS.md states (about 14 minutes on 2 cores)
	$(BIN)/python -m pytest -q tests/workers/kernels/test_kernels.py
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

bench-gpu: test-gpu ## test the kernels on a GPU, then measure them beside a copy of the same bytes
	$(BIN)/python -m tests.benchmarks steps sparsities updates training sharing --csv results/bench-gpu.csv

bench-peers: $(PEERS_READY) ## compare pruning with what others offer (about 6 minutes on 2 cores)
	$(PEERS)/bin/python -m tests.benchmarks.peers $(BENCH_ARGS)

bench-sweep: $(PEERS_READY) ## compare a whole sweep with Ray Tune and the Trainer (BENCH_ARGS='--encoder FOLDER --against FOLDER')
	$(PEERS)/bin/python -m tests.benchmarks.sweep $(BENCH_ARGS)

bench-statistics: $(READY) ## simulate how often intervals hold the truth and tests err: the tables of METHODS.md (about 20 minutes on a core)
	$(BIN)/python -m tests.benchmarks.statistics $(BENCH_ARGS)

lock: $(READY) ## write the newest allowed versions into requirements.lock and requirements-peers.lock
	$(BIN)/python -m pip install --quiet uv
	{ echo "# Exact versions of all that is installed, for pip's -c; made by 'make lock' from pyproject.toml."; \
	  $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --no-annotate --no-header --no-emit-index-url --quiet; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	cp requirements.lock requirements-peers.lock.new # versions to prefer; then what a peer needs without saying so
	printf '%s\n' 'pyarrow<26' 'setuptools<82' | $(BIN)/uv pip compile pyproject.toml - --extra peers --universal \
	  --python-version 3.11 --no-annotate --no-header --no-emit-index-url --quiet -o requirements-peers.lock.new
	{ echo "# Exact versions of what 'make bench-peers' installs, for pip's -c; made by 'make lock'."; \
	  cat requirements-peers.lock.new; } > requirements-peers.lock
	rm requirements-peers.lock.new

clean: ## remove the virtual environment and caches, not results
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache *.egg-info
