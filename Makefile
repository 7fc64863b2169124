# `make` alone prints the targets. Recipes are POSIX sh.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TABLE ?=
PYTEST_ARGS ?=
# Processes that the tests run in, each on a core of its own.
WORKERS ?= 2

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock)
# Packages that one pip call installs. What a call installed stays, so an interrupted install goes on after it.
BATCH := 16

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install app test lint format bench sbom clean browser

help:
	@echo "make install   virtual environment in $(VENV), every version from requirements.lock"
	@echo "               TORCH_INDEX=URL takes torch from another index, for instance its CPU builds"
	@echo "make app       install, then open the page on http://127.0.0.1:7860 (APP_HOST and APP_PORT change that)"
	@echo "make test      install, lint, then every test by WORKERS=2 processes; PYTEST_ARGS=... goes to pytest"
	@echo "               (CONTRIBUTING.md has the fast ones of a working day)"
	@echo "make lint      formatting, lint, types, import walls, Dockerfile"
	@echo "make format    put the formatting right"
	@echo "make bench     TABLE=name measures one table of benchmarks/"
	@echo "make sbom      write sbom.json and docs/licences.md of what is installed"
	@echo "make clean     remove $(VENV) and every cache; DATA_DIR stays"

install: $(VENV)/.project
	@:

# A stamp is touched when its step is complete; a step without its stamp is done again, or gone on with.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed, and $(PYTHON) is not: install it, or name it with make install PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.made
	@echo "Installing $(TORCH) (the largest download)"
	@$(PIP) install -qq --no-deps --no-compile $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") $(TORCH)
	@touch $@

# Bytecode is written by all cores at once, and not for what nobody imports; pip would take one core and longer.
# A pip that was killed can leave a package without its RECORD, which the next pip takes for installed: remove its mark.
$(VENV)/.locked: $(VENV)/.torch requirements.lock
	@for mark in $(VENV)/lib/python3*/site-packages/*.dist-info; do \
	    [ ! -d "$$mark" ] || [ -f "$$mark/RECORD" ] || rm -rf "$$mark"; done
	@total=$$(grep -c '^[A-Za-z]' requirements.lock); \
	echo "Installing the $$total packages of requirements.lock (a few minutes; interrupted, it goes on where it was)"; \
	rm -f $(VENV)/.batch-*; sed -n '/^torch==/d; /^[A-Za-z]/p' requirements.lock | split -l $(BATCH) - $(VENV)/.batch-; \
	done=1; for part in $(VENV)/.batch-*; do \
	    $(PIP) install -qq --no-deps --no-compile --require-hashes -r $$part </dev/null || exit 1; \
	    done=$$((done + $$(wc -l <$$part))); echo "  $$done of $$total"; \
	done; rm -f $(VENV)/.batch-*
	@echo "Compiling them"
	@$(PY) -m compileall -qq -j 0 -x '/(kubernetes|tests?|testing)/' $(VENV)/lib || :
	@if nvidia-smi -L >/dev/null 2>&1; then \
	    echo "An NVIDIA GPU is there: installing the CUDA libraries of $(TORCH) (several GB)"; \
	    $(PIP) install $(TORCH); \
	    $(PY) -c 'import sys, torch; sys.exit(not torch.version.cuda)' || \
	        echo "This build of torch knows no CUDA, so the GPU stays unused: TORCH_INDEX=URL names an index of CUDA builds."; \
	elif ! $(PY) -c 'import torch' 2>/dev/null; then \
	    echo "This build of torch needs the CUDA libraries even without a GPU: installing them (several GB)."; \
	    echo "To save them: make clean, then make install TORCH_INDEX=URL with an index of CPU builds."; \
	    $(PIP) install $(TORCH); \
	fi
	@$(PY) -c 'import torch' || { echo "torch does not import: see above; make clean, then make install" >&2; exit 1; }
	@$(PY) -c 'import xllamacpp' 2>/dev/null || \
	    echo "The embedded LLM does not load here (other LLMs do): it may lack libgomp (Debian: apt-get install libgomp1)."
	@touch $@

$(VENV)/.project: $(VENV)/.locked pyproject.toml
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Installed: $(VENV)/bin/python -m app, -m indexes and -m distill are ready."

app: install
	@echo "Starting the page; Ctrl-C ends it."
	@exec $(PY) -m app

test: install browser lint
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The page is tested in a real browser, Debian's own: nothing is downloaded from elsewhere.
browser:
	@command -v chromium >/dev/null 2>&1 && exit 0; \
	remedy="The browser test needs Chromium: install it (Debian: apt-get install chromium), then make test again."; \
	command -v apt-get >/dev/null 2>&1 || { echo "$$remedy" >&2; exit 1; }; \
	if [ "$$(id -u)" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root="sudo -n"; else echo "$$remedy" >&2; exit 1; fi; \
	echo "Installing Debian's chromium for the browser test"; \
	$$root apt-get update -qq && \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null </dev/null || \
	    { echo "$$remedy" >&2; exit 1; }

lint: install
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@if [ -x $(VENV)/bin/hadolint ]; then $(VENV)/bin/hadolint Dockerfile && echo "Dockerfile: no findings"; fi

format: install
	@$(PY) -m ruff check --fix-only -q .
	@$(PY) -m ruff format .

bench: install
	@if [ -z "$(TABLE)" ]; then \
	    echo "make bench TABLE=name, where name is one of:"; \
	    for file in benchmarks/[a-z]*.py; do [ ! -f "$$file" ] || echo "  $$(basename "$$file" .py)"; done; exit 2; fi
	@$(PY) -m benchmarks.$(TABLE)

# What is installed with its licence, as a list of materials in CycloneDX's form and as a table.
sbom: install
	@$(PY) -m benchmarks.sbom

clean:
	@rm -rf $(VENV) build ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed $(VENV) and the caches; DATA_DIR stays."
