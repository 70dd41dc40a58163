# Two commands do everything: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test check golden clean
.DEFAULT_GOAL := quickstart

$(STAMP): pyproject.toml constraints.txt
	@command -v g++ >/dev/null || { echo "g++ is missing: install it first (Debian: apt install g++)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

quickstart: $(STAMP) ## train a small network, export it for zu3eg, simulate it, write the report
	$(BIN)/fpgaflow train digits --out runs/quickstart --overwrite
	$(BIN)/fpgaflow export runs/quickstart --board zu3eg --out build/quickstart

test: $(STAMP) ## the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

check: $(STAMP) ## what must hold before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy toolchain fpgaflow
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

golden: $(STAMP) ## write the golden files anew; read the diff before committing it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -k golden

clean:
	rm -rf build runs dist .pytest_cache .mypy_cache .ruff_cache
