# Needs Python 3.11 or newer and make; everything else goes into .venv.
# PYTHON=python3.13 make test: another interpreter, in a virtual environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test suite check serve gen bench abuse long compat format clean

help: ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'stigmer needs Python 3.11 or newer: PYTHON=python3.12 make …'; exit 1; }
	@echo 'Setting up $(VENV) (once; takes a minute) …'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --upgrade pip
	@$(PIP) install --constraint constraints.txt --build-constraint constraints.txt --group dev --editable .
	@touch $@

demo: $(READY) ## Start a server, run an agent on it with real clients, and say what happens
	@$(BIN)/python demo/main.py

test: $(READY) ## Everything that CI runs: the checks, then the tests
	@echo 'The checks and the tests take some eight minutes on two processors.'
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory suite

suite: $(READY) ## The tests alone, with coverage
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

check: $(READY) ## Lint, types, import contracts, generated code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/generate.py --check

serve: $(READY) ## Run the server on 127.0.0.1:7234
	@$(BIN)/stigmer serve

gen: $(READY) ## Regenerate src/stigmer/_gen and types.py from protos/
	@$(BIN)/python tools/generate.py

bench: $(READY) ## Measure, and write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

abuse: $(READY) ## Attack a server for ten minutes, and write benchmarks/ABUSE.md
	@$(BIN)/python -m benchmarks.abuse

long: $(READY) ## The tests that take minutes: a hundred kills, a large model check
	@STIGMER_LONG=1 $(BIN)/python -m pytest -o addopts="" -m "long or longer" --timeout=3600

compat: ## The tests on the lowest and newest dependencies, and on each Python from 3.11 to 3.14 that is there
	@$(PYTHON) tools/compat.py $(ONLY)

format: $(READY) ## Format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

clean: ## Remove what the other targets made
	rm -rf $(VENV) .venv-compat build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
