# Everything runs in a virtual environment of its own; only Python 3.11 or later, pip and make are needed.
# .venv is of the default interpreter; make PYTHON=python3.13 works in .venv-3.13.
VERSION_OF = $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2], "%d.%d.%d" % sys.version_info[:3])'
ifndef PYTHON
PYTHON := $(shell command -v python3.11 || command -v python3)
VENV := .venv
endif
VERSION := $(shell $(call VERSION_OF,$(PYTHON)))
VENV ?= .venv-$(firstword $(VERSION))
BIN := $(VENV)/bin
READY := $(VENV)/.installed-$(lastword $(VERSION)) # another interpreter of the same name: set up anew

help:
	@echo "make demo       set up, then run a job through an agent of its own"
	@echo "make demo-crash kill agent, pump and keeper under a job, and see that nothing is lost"
	@echo "make test       set up, check (ruff, mypy) and run the tests"
	@echo "make test-slow  the long tests"
	@echo "make torture    kill everything again and again under running jobs, and print what came of it"
	@echo "make hostile    send an agent what nobody should, beside a good user, and print what came of it"
	@echo "make bench      print the figures, each beside the limit measured in the same run"
	@echo "make clean      remove the virtual environment and the caches"

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jobworker needs Python 3.11 or later: make PYTHON=...")'
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	@sh tests/demo.sh $(BIN)

demo-crash: setup
	@sh tests/demo_crash.sh $(BIN)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

torture: setup
	$(BIN)/python tests/torture/run.py

hostile: setup
	$(BIN)/python tests/hostile/run.py

bench: setup
	$(BIN)/python tests/benchmarks/run.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
