# The daily commands. Everything they need is put into .venv from the lock files, hash by hash.
PYTHON ?= python3.11
BASE_PORT ?= 20000
SECONDS ?= 60
BIN := .venv/bin

.PHONY: run test check bench load fuzz soak lock dev format help clean

help:
	@echo "make run | test | check | bench | load | fuzz [T=name] [SECONDS=60] | soak [SECONDS=60 KILLS= ENGINE=both DISK= SEED= LOG=] | format | lock | clean"

# The markers depend on the lock files: a changed lock installs again, nothing else does.
.venv/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "Cần Python 3.11 / Python 3.11 is needed: $(PYTHON)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Thiếu gói venv / missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.ok: requirements.lock pyproject.toml | .venv/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.ok: requirements-dev.lock .venv/run.ok
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

dev: .venv/dev.ok

# A sample An Giang in data/: stays between runs; Ctrl-C stops it.
run: .venv/run.ok
	@exec $(BIN)/congvu demo --data data --base-port $(BASE_PORT)

test: .venv/dev.ok
	@sh tests/needs.sh
	$(BIN)/python -m pytest -n $${JOBS:-2} --dist loadfile $(ARGS)

check: .venv/dev.ok
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/test_layers.py tests/test_papers.py

format: .venv/dev.ok
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Ours beside Postfix + Dovecot from Debian's packages in the same run; ARGS="--full" takes longer.
bench: .venv/dev.ok
	@sh tests/needs.sh bench
	$(BIN)/python -m bench.run $(ARGS)

# Ours alone under much load: 10,000 idle connections, 1,000 SMTP sessions, 30,000 accounts, a mailbox of a million letters, hostile clients.
load: .venv/dev.ok
	@sh tests/needs.sh bench
	$(BIN)/python -m bench.load $(ARGS)

# Every reader of bytes from strangers gets broken input, guided by coverage; only documented errors may come out.
fuzz: .venv/dev.ok
	$(BIN)/python -m tests.fuzz.driver $(if $(T),--only $(T)) --seconds $(SECONDS)

# Load on all protocols while workers, the server and the database server are killed: nothing acknowledged may be lost.
# ENGINE=sqlite|postgres|both; DISK=failing adds power cuts, a full disk and failing calls (needs root); SEED= does a run again; LOG=FILE gets a JSON line for each store that was tried.
soak: .venv/dev.ok
	@sh tests/needs.sh
	$(BIN)/python -m tests.soak.run --seconds $(SECONDS) $(if $(KILLS),--kills $(KILLS)) $(if $(ENGINE),--engine $(ENGINE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(LOG),--log $(LOG)) $(if $(DISK),--failing-disk)

# Exact versions with the hashes of every published file (all platforms); no registry's name is written down.
UV ?= uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links
lock:
	$(COMPILE) --output-file requirements.lock pyproject.toml --group build
	$(COMPILE) --output-file requirements-dev.lock -c requirements.lock pyproject.toml --group dev

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
