# SPDX-License-Identifier: Apache-2.0
# Every target sets itself up first: a virtual environment in .venv/ with the versions of requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.rtlformer-ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: setup test check demo bench lint docs format lock clean
.DEFAULT_GOAL := check

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' 2>/dev/null || \
	  { echo "rtlformer needs Python 3.11 or newer: '$(PYTHON)' is not; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: $(READY) lint    ## everything that CI runs
	$(PYTEST)

check: $(READY)        ## the quick subset to run while working
	$(PYTEST) -m "not slow"

demo: $(READY)         ## the digits accelerator, end to end
	$(BIN)/python -m gen demo

bench: $(READY)        ## build/bench.json and the table of docs/performance.md
	$(BIN)/python -m gen bench

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY)         ## the site of docs/ and of the docstrings, in build/docs; a warning is an error
	$(BIN)/python docs/build.py

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock:                  ## pin anew, from a fresh environment (after editing pyproject.toml)
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check ".[dev]" setuptools==84.2.1
	{ echo "# Made by 'make lock': every version pinned, as tested."; \
	  build/lock/bin/python -m pip freeze --all | grep -v -e '^pip==' -e '^rtlformer '; } > requirements.lock.new
	mv requirements.lock.new requirements.lock && rm -rf build/lock build/lib build/bdist.*

clean:                 ## all outputs; the virtual environment stays (remove .venv/ by hand)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
