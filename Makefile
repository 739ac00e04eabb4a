# The two commands a newcomer needs are `make run` and `make test`; the rest is for developers.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The small model is fetched once and serves the example and the tests.
export OMIUM_MODELS_DIR ?= $(CURDIR)/.models
export OMIUM_DATA_DIR ?= $(CURDIR)/.omium

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# Made again when the lock changes. uv makes it quick; pip does it too.
$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "setting up $(VENV) from requirements.lock"
	@if command -v uv >/dev/null; then \
	  ( test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV) ) && \
	  uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock && \
	  uv pip install --quiet --no-deps --python $(BIN)/python --editable . ; \
	else \
	  ( test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) ) && \
	  $(BIN)/pip install --quiet --require-hashes --requirement requirements.lock && \
	  $(BIN)/pip install --quiet --no-deps --editable . ; \
	fi
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready ## Install everything into .venv, from the hashed lock

.PHONY: run
run: setup ## The main job: a crew of three answers a loan question, durably
	@$(BIN)/omium models pull
	@$(BIN)/omium run examples/loan-apr/workflow.yaml \
	  --input principal=10000 --input interest=550 --input years=1

.PHONY: test
test: setup ## Every test: real Ray, real CrewAI, real model, real S3
	@$(BIN)/omium models pull >/dev/null
	@$(BIN)/pytest -n 2 --dist loadgroup

.PHONY: check
check: setup ## ruff, pyright, import-linter and the unit tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q -n 2 --dist loadgroup --hypothesis-profile=quick -m "not ray and not crewai and not langgraph and not autogen and not model and not s3 and not slow"

.PHONY: bench
bench: setup ## All benchmarks (minutes); one: .venv/bin/python -m benchmarks steps
	@$(BIN)/python -m benchmarks all

.PHONY: lock
lock: ## Resolve the dependencies anew into requirements.lock
	@uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal \
	  --python-version 3.11 --all-extras pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## Remove what was built, keep .models
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .omium
