# Needs: Python >= 3.11 with venv, make, and the package registries. Nothing else: no Docker, Java or PostgreSQL.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cdc dev test lint bench docs lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := ingestd bench tests scripts
LOCK_TOOL := uv==0.13.9

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is written last, so an interrupted installation is done again.
$(STAMP): requirements.lock pyproject.toml scripts/setup
	@sh scripts/setup $(VENV)

setup: $(STAMP) ## Make .venv and install exactly what requirements.lock says

demo: $(STAMP) ## Start Kafka and PostgreSQL, run the sales example, show rates and lag (Ctrl-C ends it)
	@exec $(BIN)/ingestd demo $(ARGS)

demo-cdc: $(STAMP) ## Copy a changing PostgreSQL database through Debezium and Kafka, and compare (Ctrl-C ends it)
	@exec $(BIN)/ingestd demo cdc $(ARGS)

dev: $(STAMP) ## Start Kafka and PostgreSQL for your own experiments (Ctrl-C ends it; ARGS=--debezium adds Debezium)
	@exec $(BIN)/ingestd dev $(ARGS)

test: $(STAMP) ## Run all tests against a real Kafka and a real PostgreSQL
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

bench: $(STAMP) ## Measure on this machine; results go to bench/results
	$(BIN)/python -m pytest --benchmark-only bench

docs: $(STAMP) ## Write the pages of docs that come from the code: api, cli, config, metrics
	$(BIN)/python scripts/write_references.py

lock: ## Resolve the dependencies again into requirements.lock and requirements-run.lock
	@sh scripts/lock "$(LOCK_TOOL)"

clean: ## Remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
