# What a newcomer types. Needs Python 3.11 or newer, make and git; everything else is fetched.
SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEVCLUSTER := deploy/devcluster/run
PYTEST_FLAGS ?=
# Resolves the lock files; another version may choose or lay out differently.
UV_VERSION := 0.13.9

.PHONY: help setup check lint test demo bench siege lock docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with exactly the locked packages

.venv: $(STAMP)

$(STAMP): deploy/requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "sleeper needs Python 3.11 or newer on the PATH." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv or ensurepip; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into $(VENV); pip is silent for about a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r deploy/requirements/dev.lock || { \
	  echo "The locked packages could not be installed; pip says why above. It has to reach a" \
	  "package index: PyPI, or a mirror of it that PIP_INDEX_URL names." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable . || { \
	  echo "sleeper itself could not be installed into $(VENV); pip says why above. This needs no" \
	  "package index, only the locked packages: 'make clean setup' begins anew." >&2; exit 1; }
	@touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint ## Lint, types, layers, and every test that needs no cluster
	$(BIN)/python -m pytest -m "not cluster" -n auto --dist worksteal $(PYTEST_FLAGS)

test: check ## Everything, on a real Kubernetes cluster of its own
	$(DEVCLUSTER) $(BIN)/python -m pytest -m cluster $(PYTEST_FLAGS)

demo: setup ## Watch namespaces fall asleep and wake (KEEP=1 ends in a shell; leaving ends it)
	@test -z "$(KEEP)" || test -t 0 || { \
	  echo "KEEP=1 opens a shell in which to look around: it needs a terminal." >&2; exit 1; }
	PYTHONPATH=deploy:deploy/devcluster KEEP=$(KEEP) $(DEVCLUSTER) $(BIN)/python -m demo

bench: setup ## Measure what docs/figures.md shows (NAMES="decide sink" for some)
	PYTHONPATH=deploy/devcluster $(DEVCLUSTER) $(BIN)/python -m tests.bench $(NAMES)

siege: setup ## Besiege it for an hour at random (MINUTES=5 SEED=name for another walk)
	PYTHONPATH=deploy/devcluster $(DEVCLUSTER) $(BIN)/python -m tests.siege \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(SIEGE_FLAGS)

lock: setup ## Resolve the locked requirements anew
	$(BIN)/python -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	env -u PIP_FIND_LINKS build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header pyproject.toml -o deploy/requirements/runtime.lock
	env -u PIP_FIND_LINKS build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --extra dev pyproject.toml -o deploy/requirements/dev.lock

docs: setup ## Generate docs/reference from the declarations
	$(BIN)/python docs/generate.py

clean: ## Remove what make made (the cache of built binaries stays)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
