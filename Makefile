# The same targets on a laptop and in CI. `make demo` and `make test` need only Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests
T ?=
P ?=
N ?= 4
E ?= eddy-census
COVERAGE ?=
COVER := --cov=rpac_ci --cov-report=term:skip-covered --cov-fail-under=90

# Python imports in half the time what it has compiled before, also where a machine's setting forbids
# to keep that: the tests start Python thousands of times
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-fast test-experiments dev lint reformat schemas bench nightly plan package check-readme clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: .venv/.installed  ## reproduce a real experiment on this machine and commit its report
	@echo "Reproducing eddy-census: ocean eddies of 23 February 2019 on a Dask cluster of two nodes"
	$(BIN)/rpac reproduce eddy-census

test: .venv/.dev  ## the whole suite; what needs the package index, a real cluster or Docker included
	$(BIN)/python -m pytest -n $(N) --dist worksteal -m "not nightly" --durations=25 $(TESTS) $(if $(T),-k "$(T)") $(if $(COVERAGE),$(COVER))

test-experiments: .venv/.dev  ## the experiments' own tests, each in the environment of its lock
	$(BIN)/python -m tests.experiments

test-fast: .venv/.dev  ## the part that takes less than two minutes
	$(BIN)/python -m pytest -n logical --dist worksteal -m "not slow and not nightly" $(TESTS) $(if $(T),-k "$(T)")

dev: .venv/.dev  ## make the development environment in .venv

lint: .venv/.dev  ## style, types, spelling, the experiments
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/rpac validate

reformat: .venv/.dev  ## apply the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: .venv/.dev  ## write the JSON Schemas from the models
	$(BIN)/python -m rpac_ci.schemas

bench: .venv/.dev  ## print ratios against the bare tools
	$(BIN)/python -m tests.benchmarks $(P)

nightly: .venv/.nightly  ## coverage; campaigns of faults and load; the decisions changed in small ways: does a test notice?
	$(MAKE) test COVERAGE=1
	$(BIN)/python -m pytest -n $(N) --dist worksteal -m nightly $(TESTS)
	$(BIN)/python -m tests.mutation

plan: .venv/.installed  ## show what `rpac reproduce $(E)` would do
	$(BIN)/rpac plan $(E)

check-readme: .venv/.dev  ## is the README's help text what rpac prints?
	$(BIN)/python -m pytest -q tests/unit/test_readme.py

package: .venv/.dev  ## build the wheel and the source archive
	$(BIN)/uv build --quiet

clean:  ## remove the environment and what builds left; runs and reports stay
	rm -rf .venv dist build mutants .pytest_cache .mypy_cache .ruff_cache

# uv installs in seconds; where it cannot reach the index that pip is configured for, pip does it
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python $(1) || $(BIN)/python -m pip install --quiet $(1)

.venv/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rpac needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8,<1"

.venv/.installed: pyproject.toml | .venv/bin/uv
	$(call INSTALL,--editable .)
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/uv
	$(call INSTALL,--editable ".[test$(,)lint]")
	@touch $@ .venv/.installed

.venv/.nightly: .venv/.dev
	$(call INSTALL,--editable ".[test$(,)lint$(,)nightly]")
	@touch $@

, := ,
