# make demo | test | test-all | table | reliability | campaign | lint | bench | docs | test-hub: each makes its own .venv, installs once, and runs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SLOW := real or compile or dist or long
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Hundreds of processes import the same modules here: compile each once, also where the environment says not to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all table reliability test-slow faults campaign wheel lint bench docs test-hub clean help

help:
	@sed -n '1s/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "inarch needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: a second make does not install again unless a requirement changed.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all,dev,docs]'
	@touch $@ $(VENV)/.dev $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/inarch demo classify

# One thread per worker: two workers fill two cores without fighting over them.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

# The site and the notebooks are tests of it too.
test-slow: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "($(SLOW)) and not row" --timeout 1200

# Every test of the fault table, each under a watchdog; --rows writes what was tried.
ROWS := runs/reliability.json
table: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m row --timeout 120 --rows=$(ROWS)

# The same, kept: docs/reliability.md is written anew.
reliability:
	$(MAKE) table ROWS=results/reliability.json
	$(BIN)/python scripts/reliability_table.py

faults: $(VENV)/.docs
	$(BIN)/python tests/planted_faults.py

# Fuzzed checkpoints, kills, resumed runs, the peers' 33 cases: minutes, kept in results/campaign.json.
campaign: $(VENV)/.dev
	$(BIN)/python tests/campaign

# A built wheel in an empty environment, run where no checkout is in reach.
wheel: $(VENV)/.dev
	scripts/try_wheel.sh $(BIN)/python

test-all: table test-slow faults wheel

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/inarch bench train

# The documents as a site in site/: python -m http.server -d site
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test-hub: $(VENV)/.dev
	HF_HUB_OFFLINE=0 $(BIN)/python -m pytest -q -s -m hub --timeout 1800

clean:
	rm -rf $(VENV) build dist site *.egg-info
