# make demo: install into .venv and show what personae does. make test: everything that must hold. make docs: the site.
# make wheel-check: a wheel, installed in an environment of its own away from the checkout, does what the README says.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test kernels checked check docs wheel-check clean

demo: $(VENV)/installed
	$(BIN)/personae demo

# Two workers of one thread each: the tests of a file stay together, since they share what is slow to open.
WORKERS := -n 2 --dist loadfile
test: $(VENV)/installed-dev check
	$(BIN)/python -m pytest $(WORKERS)

# What compares float computations, again with the kernels of an older processor and one thread.
kernels: $(VENV)/installed-dev
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) -m kernels

# Every call of the package held to its annotations, over tests that take seconds (tests/runtime_checks.py).
CHECKED := sampling identity directions align aligned photo colours face_regions reader upright parser mask_blend pose_map \
	regions facex face_tokens id_prompt expression recolour warp tilt track text_guidance roll flicker scenes runtime_checks
checked: $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python -m pytest -q $(WORKERS) -p runtime_checks -m "not untyped" $(CHECKED:%=tests/test_%.py)

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# As a static site in build/docs; a warning, a dead link included, is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

wheel-check: | $(BIN)/python
	PYTHON=$(BIN)/python ./.ci/wheel

# The stamps make a second run start at once; they age when what is to be installed changes.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/installed

$(VENV)/installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[docs]'
	touch $@ $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist personae-out .pytest_cache .ruff_cache .mypy_cache .hypothesis
