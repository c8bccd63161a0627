# make demo: install into .venv and show what personae does. make test: everything that must hold.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test kernels check clean

demo: $(VENV)/installed
	$(BIN)/personae demo

test: $(VENV)/installed-dev check
	$(BIN)/python -m pytest

# What compares float computations, again with the kernels of an older processor and one thread.
kernels: $(VENV)/installed-dev
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m kernels

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The stamps make a second run start at once; they age when what is to be installed changes.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) personae-out .pytest_cache .ruff_cache .mypy_cache .hypothesis
