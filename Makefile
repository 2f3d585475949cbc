# Two commands: `make run` turns the loop once, `make test` passes the tests. Both set everything up first, if need be.
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --only-binary grpcio
READY := $(VENV)/.ready

.PHONY: help setup run test lint format clean

help:
	@echo "make run     set up if need be, then turn the whole loop once on the simulated exchange"
	@echo "make test    set up if need be, then run the tests"
	@echo "make lint    ruff, mypy (strict) and the import contracts"
	@echo "make format  let ruff format the code"
	@echo "make clean   remove the virtual environment and all artefacts below var/"

setup: $(READY)

# torch comes first and by its exact pin: an open range would pull gigabytes of GPU packages.
$(READY): pyproject.toml constraints.txt
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@echo "Setting up $(VENV) (a few minutes the first time)..."
	@$(PIP_INSTALL) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	@$(PIP_INSTALL) --editable ".[dev]"
	@touch $@

run: $(READY)
	@$(VENV)/bin/ratchet run

test: $(READY)
	@$(VENV)/bin/pytest

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(READY)
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) var
