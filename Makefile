# sparsweep: `make demo` and `make test` do all the set-up that they need; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= results/demo

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "$(PYTHON): Python 3.11 to 3.13 is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; install it, for example: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]' || \
	  { echo "pip could not install the packages in requirements.lock; is the package index reachable?" >&2; exit 2; }
	@touch $@

demo: $(READY) ## run the built-in smoke sweep on this machine and print its table (about 2 minutes)
	$(BIN)/sparsweep run smoke --set results=$(DEMO)

test: $(READY) ## run all tests (about 6 minutes on 2 cores)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## measure what the README states (about 3 minutes on 2 cores)
	$(BIN)/python -m tests.benchmarks

lock: $(READY) ## write the newest allowed versions into requirements.lock
	$(BIN)/python -m pip install --quiet uv
	{ echo "# Exact versions of all that is installed, for pip's -c; made by 'make lock' from pyproject.toml."; \
	  $(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --no-annotate --no-header --no-emit-index-url --quiet; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean: ## remove the virtual environment and caches, not results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
