# make demo       what callctl does, in one command: no PBX, no root; SECONDS=n ends it after n seconds
# make test       every test. As root on Debian it first installs the servers that some of them need; elsewhere
#                 the end of the run says what was not tested. ARGS="-k name" is passed on to pytest
# make simulate   the seeded simulation; SEED=n replays one run
# make bench      the figures, each beside its limit
# make fuzz       every parser of what others send under atheris, SECONDS=60 each; TARGET=name for one of them
# make lint       ruff, its formatter, mypy
# make setup      .venv with the pinned dependencies; every other target does it by itself

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: setup demo test simulate bench fuzz lint
.DEFAULT_GOAL := demo

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "callctl needs Python 3.11: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup
	$(BIN)/callctl demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup
	tests/install.sh
	$(BIN)/python -m pytest $(ARGS)

simulate: setup
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED))

bench: setup
	$(BIN)/python -m bench

fuzz: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m fuzz $(TARGET) $(if $(SECONDS),--seconds $(SECONDS))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
