# The commands of this project; `make help` lists them. Everything runs in .venv, which is made on first use.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# A half-made target (an interrupted installation) must not look finished.
.DELETE_ON_ERROR:

# The first interpreter that really runs: a version manager's shims may be on the path and fail when called.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
PACKAGES := conversations connections integrations
CODE := manage.py chatgateway $(PACKAGES) tests
BIN := .venv/bin
comma := ,
space := $(subst ,, )
PIP_OPTIONS := install --quiet --disable-pip-version-check --require-hashes
PIP_INSTALL := $(BIN)/python -m pip $(PIP_OPTIONS)
LOCK := $(BIN)/python -m piptools compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--strip-extras --allow-unsafe
# What checks the code must see neither a developer's .env nor his data: the plain defaults, in a folder of its own.
PLAIN := env DATA_DIR=$(CURDIR)/.venv/check DATABASE_URL= REDIS_URL= OPENAI_BASE_URL= OPENAI_MODEL= ACCESS_MODE=open \
	HOST=127.0.0.1 DEBUG=false

# --- The environment ---------------------------------------------------------------------------

# pip is the last thing that venv writes, so its presence means a whole environment.
$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none that runs was found." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks its venv module: install it\
	 (Debian and Ubuntu: apt-get install python3-venv), then run make again." >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv

.venv/base.stamp: requirements/base.txt | $(BIN)/pip
	@echo "Installing $<"
	@$(PIP_INSTALL) -r $<
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/base.stamp
	@echo "Installing $<"
	@$(PIP_INSTALL) -r $<
	@touch $@

FOREIGN := .venv/documents.stamp .venv/node.stamp .venv/autobahn.stamp

# What the documents' own programs need; they never see our packages, nor we theirs.
.venv/documents.stamp: requirements/documents.txt | $(BIN)/pip
	@echo "Installing $< into .venv/documents"
	@$(BIN)/python -m venv --clear --without-pip .venv/documents
	@$(BIN)/python -m pip --python .venv/documents/bin/python $(PIP_OPTIONS) -r $<
	@touch $@

# Without npm there is nothing to run it with either: the tests that need it say so.
.venv/node.stamp: tests/documents/package-lock.json | $(BIN)/pip
	@if command -v npm >/dev/null; then \
		echo "Installing $< into .venv/node" && mkdir -p .venv/node && cp tests/documents/package*.json .venv/node/ && \
		cd .venv/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch ../node.stamp; \
	fi

# Autobahn's suite runs on Python 2.7 only; pyenv's must be asked for by its version. Without it its test says so.
PYTHON2 ?= env PYENV_VERSION=2.7.18 python2.7
.venv/autobahn.stamp: requirements/autobahn.txt | $(BIN)/pip
	@if $(PYTHON2) -m pip --version >/dev/null 2>&1; then \
		echo "Installing $< into .venv/autobahn" && rm -rf .venv/autobahn && \
		$(PYTHON2) -W ignore -m pip $(PIP_OPTIONS) --no-deps --target .venv/autobahn -r $< 2>/dev/null && touch $@ || \
		echo "It could not be installed; Autobahn's cases will be left out."; \
	fi

# --- Running -----------------------------------------------------------------------------------

.PHONY: run
run: .venv/base.stamp ## Install, migrate, bootstrap and serve (HOST, PORT, … come from the environment or .env)
	@exec $(BIN)/python manage.py serve --prepare

# --- Tests -------------------------------------------------------------------------------------

# Much of a test's time is waiting, so processes need no core each. They share nothing: each has servers of its own.
# What ARGS narrows runs in one, which starts faster and, given a seed, in the same order every time.
PROCESSES ?= 4
PARALLEL := --numprocesses $(PROCESSES) --dist worksteal
# Where the shell says not to keep it, each of the suite's hundreds of processes would compile our code anew.
KEEP_BYTECODE := env -u PYTHONDONTWRITEBYTECODE

.PHONY: test
test: .venv/dev.stamp $(FOREIGN) ## Run the whole suite and hold line coverage at 90 % (ARGS="-k name" narrows it)
	@$(BIN)/python -m coverage erase
	@$(KEEP_BYTECODE) $(BIN)/python -m coverage run -m pytest $(or $(ARGS),$(PARALLEL))
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --fail-under=$(if $(ARGS),0,90) \
		--include="$(subst $(space),$(comma),$(PACKAGES:%=%/*))"

FAULTS_REPORT := .venv/faults.jsonl

.PHONY: faults
faults: .venv/dev.stamp $(FOREIGN) ## Break things for real, at length, and write docs/reliability.md (ARGS="-k name" narrows it)
	@rm -f $(FAULTS_REPORT)
	@FAULTS=long FAULTS_REPORT=$(CURDIR)/$(FAULTS_REPORT) $(KEEP_BYTECODE) $(BIN)/python -m pytest -p no:randomly --timeout 7200 \
		tests/faults $(ARGS); status=$$?; $(BIN)/python -m tests.faults.report $(FAULTS_REPORT) $(if $(ARGS),,--anew); exit $$status

.PHONY: bench
bench: .venv/dev.stamp ## Measure the store, the wire and staff's pages; prints one JSON object a run and a table
	@$(BIN)/python -m tests.benchmarks.store
	@$(BIN)/python -m tests.benchmarks.wire
	@$(BIN)/python -m tests.benchmarks.admin

# --- Checks ------------------------------------------------------------------------------------

.PHONY: check
check: lint types imports migrations ## Everything that needs no run: lint, types, imports, migrations, settings

.PHONY: lint
lint: .venv/dev.stamp ## Look for faults and for unformatted code
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

.PHONY: format
format: .venv/dev.stamp ## Format the code and repair what can be repaired
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

.PHONY: types
types: .venv/dev.stamp ## Check the types, strictly
	@$(PLAIN) $(BIN)/python -m mypy $(CODE)

.PHONY: imports
imports: .venv/dev.stamp ## Check who may import whom
	@$(BIN)/lint-imports

.PHONY: migrations
migrations: .venv/dev.stamp ## Check that the migrations are up to date and the settings sound
	@$(PLAIN) $(BIN)/python manage.py makemigrations --check --dry-run
	@$(PLAIN) $(BIN)/python manage.py check --fail-level WARNING

# --- Upkeep ------------------------------------------------------------------------------------

.PHONY: lock
lock: .venv/dev.stamp ## Compile requirements/*.in into *.txt, with hashes (ARGS=--upgrade takes newer versions)
	@$(LOCK) $(ARGS) --output-file=requirements/base.txt requirements/base.in
	@$(LOCK) $(ARGS) --output-file=requirements/dev.txt requirements/dev.in
	@$(LOCK) $(ARGS) --output-file=requirements/documents.txt requirements/documents.in

.PHONY: messages
messages: .venv/dev.stamp ## Compile the translations of our pages, and name what has none
	@$(BIN)/python -m tests.support.messages

.PHONY: asyncapi
asyncapi: .venv/base.stamp ## Write docs/asyncapi.yaml anew: what the sockets speak, out of their types and examples
	@$(PLAIN) $(BIN)/python manage.py asyncapi > docs/asyncapi.yaml.new && mv docs/asyncapi.yaml.new docs/asyncapi.yaml

# The suite has AsyncAPI's parser look at the document; its command line takes 450 MB and minutes to install.
ASYNCAPI_CLI := @asyncapi/cli@6.2.0

.PHONY: validate
validate: ## Have AsyncAPI's own command line look at docs/asyncapi.yaml
	@mkdir -p .venv/asyncapi && cd .venv/asyncapi && { test -x node_modules/.bin/asyncapi || \
		npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error $(ASYNCAPI_CLI) >/dev/null; }
	@CI=true .venv/asyncapi/node_modules/.bin/asyncapi validate docs/asyncapi.yaml

.PHONY: clean
clean: ## Remove .venv and every cache; data/ and .env stay
	@rm -rf .venv htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
