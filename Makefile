# `make demo` and `make test` need python3 and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MINUTES ?= 120
WORK ?= soak

.PHONY: demo test lint types format bench reliability soak

demo: $(INSTALLED)
	@$(BIN)/pix2pix demo

test: $(INSTALLED)
	@$(BIN)/pytest -n 2 --dist loadfile

bench: $(INSTALLED)
	@$(BIN)/python -m benchmarks

reliability: $(INSTALLED)
	@$(BIN)/python -m tests.reliability

soak: $(INSTALLED)
	@$(BIN)/python -m tests.reliability.soak --minutes $(MINUTES) --work $(WORK)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED)
	@$(BIN)/mypy

format: $(INSTALLED)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The stamp goes first and comes back last, so that an interrupted installation is done again.
$(INSTALLED): pyproject.toml
	@rm -f $@
	@$(BIN)/pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "pix2pix needs Python 3.10 or later; name one: make PYTHON=python3.12")' \
	  && $(PYTHON) -m venv .venv; }
	@echo "Installing into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip --require-virtualenv install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
