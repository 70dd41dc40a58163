# Two commands do everything: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test check format docs golden floats clean
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
	$(BIN)/mypy toolchain fpgaflow benchmarks
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

format: $(STAMP) ## format Python and C++
	$(BIN)/ruff format .
	$(BIN)/python -m tests.cpp_format

docs: $(STAMP) ## the documentation in build/docs; warnings and links that lead nowhere are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Documentation: build/docs/index.html"

golden: $(STAMP) ## write the golden files anew; read the diff before committing it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -k golden

floats: $(STAMP) ## ResNet-20 and, taught by it, ResNet-8 in float on CIFAR-10, for hours; goes on when stopped
	@float() { \
		run=runs/$$1; shift; resume=; if test -d $$run; then resume=--resume; fi; \
		test -f $$run/metrics.json || $(BIN)/fpgaflow train "$$@" --out $$run $$resume; \
	}; \
	taught="--set train.teacher=runs/float-resnet20"; \
	float float-resnet20 float-resnet20 && \
	float float-resnet8-first float-resnet8 $$taught && \
	float float-resnet8 float-resnet8 $$taught --set train.start_from=runs/float-resnet8-first \
		--set train.epochs=40 --set train.lr=0.1
	@if test -f runs/floats.sha256; then sha256sum --check runs/floats.sha256; \
	else sha256sum runs/float-resnet8/model.pt runs/float-resnet20/model.pt | tee runs/floats.sha256; fi

clean:
	rm -rf build runs dist .pytest_cache .mypy_cache .ruff_cache
