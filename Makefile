# Everything a person does with this project. `make help` lists it.
# Needs python3.11 or later with venv; installs into .venv and nowhere else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := signal_tasks shop orders products customers notifications \
	chaos benchmarks tests celery_app.py manage.py .ci/audit.py
CODE := $(SOURCES) docs

# Two environments in which the settings have to make sense.
DEVELOPMENT := DEBUG=1 DATABASE_URL=sqlite://:memory:
PRODUCTION = DEBUG=0 DATABASE_URL=postgres://shop@db/shop \
	ALLOWED_HOSTS=shop.example.com \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(50))')

# Tests start hundreds of processes, which would all compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo admin worker started test check audit docs docs-serve picture \
	matrix clean requirements bench bench-quick chaos chaos-all chaos-volume chaos-report

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Installed again only when the pins have changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements-run.txt | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements-run.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

run: $(VENV)/run.stamp ## start shop, workers, Flower and Redis; Ctrl-C stops them
	@$(BIN)/python -m shop.stack

demo: $(VENV)/run.stamp ## 200 orders, one worker killed meanwhile: is anything lost?
	@$(BIN)/python -m shop.demo

admin: $(VENV)/run.stamp started ## create a user for /admin/
	@$(BIN)/python manage.py createsuperuser

worker: $(VENV)/run.stamp started ## start one more worker beside a running stack
	@$(BIN)/python -m celery -A celery_app worker -n extra-$$$$@%h -l INFO

started:
	@test -e "$${SHOP_VAR:-var}/run.env" || { echo "Start the shop first: make run"; exit 1; }

# The library's tests have settings without the shop, so they are a run of their own.
SHOP_TESTS := $(addprefix tests/,shop test_docs.py)
# These bring databases of their own, so they run once: browser, tutorial, `make run` and
# `demo`; and the fault suite, which `make chaos-all` runs on other databases and brokers.
ONCE_TESTS := $(addprefix tests/,browser docs stack)
FAULT_TESTS := tests/chaos

# The order of tests is another one each time, but for CI, which asks for one seed.
PYTEST := $(BIN)/python -m pytest $(PYTEST_OPTIONS)

# What has nothing to do with the database is run on SQLite only.
AGAIN := $(PYTEST) --only-database

# Tests of real processes mostly wait, so they are run beside others, in two halves. On
# SQLite those about brokers, pools and servers would only repeat what PostgreSQL shows.
PROCESSES_1 := $(wildcard tests/integration/test_[a-l]*.py)
PROCESSES_2 := $(wildcard tests/integration/test_[m-z]*.py)
PROCESSES_ON_SQLITE := $(patsubst %,tests/integration/test_%.py,crashes delivery once \
	ordering relays)

# All take about as long as each other: none goes on alone when the others have ended.
test: $(VENV)/dev.stamp ## the whole suite, on SQLite and on PostgreSQL
	@.ci/side-by-side \
		'TEST_DATABASE=postgres $(PYTEST) $(ONCE_TESTS)' \
		'TEST_DATABASE=postgres $(PYTEST) $(PROCESSES_1)' \
		'TEST_DATABASE=postgres $(PYTEST) $(FAULT_TESTS) && \
		TEST_DATABASE=postgres $(PYTEST) $(PROCESSES_2)' \
		'TEST_DATABASE=sqlite $(PYTEST) $(SHOP_TESTS) && \
		TEST_DATABASE=sqlite $(PYTEST) tests/signal_tasks $(PROCESSES_ON_SQLITE)' \
		'TEST_DATABASE=postgres $(AGAIN) $(SHOP_TESTS) && \
		TEST_DATABASE=postgres $(AGAIN) tests/signal_tasks'

check: $(VENV)/dev.stamp ## lint, types, layers, migrations, settings, package, docs
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/basedpyright --project pyproject.toml --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(DEVELOPMENT) $(BIN)/python manage.py makemigrations --check --dry-run
	$(DEVELOPMENT) $(BIN)/python manage.py check --fail-level WARNING
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	.ci/check-package $(BIN)/python
	@$(BIN)/python .ci/audit.py requirements.txt || test $$? = 3
	$(BIN)/zensical build --strict --clean

audit: $(VENV)/dev.stamp ## ask for known vulnerabilities; fails also when nobody answers
	@$(BIN)/python .ci/audit.py --record requirements.txt

docs: $(VENV)/dev.stamp ## build the documentation into site/; a dead link is an error
	@$(BIN)/zensical build --strict --clean

docs-serve: $(VENV)/dev.stamp ## show the documentation, and each change of it
	@$(BIN)/zensical serve

CHAOS = $(BIN)/python -m chaos

RUNS = var/chaos

chaos: $(VENV)/dev.stamp ## inject every fault, check every promise (15 min)
	@$(CHAOS) --markdown $(RUNS)/1.md --json $(RUNS)/1-postgres-redis.json
	@$(BIN)/python -m chaos.scenarios
	@$(BIN)/python -m chaos.incident --markdown $(RUNS)/incident.md

chaos-all: $(VENV)/dev.stamp ## the short form on the other databases and brokers (8 min)
	@$(CHAOS) --short --broker rabbitmq --json $(RUNS)/2-postgres-quorum.json
	@$(CHAOS) --short --broker rabbitmq-classic --json $(RUNS)/3-postgres-classic.json
	@$(CHAOS) --short --database mariadb --json $(RUNS)/4-mariadb-redis.json
	@$(CHAOS) --short --database sqlite --json $(RUNS)/5-sqlite-redis.json

chaos-volume: $(VENV)/dev.stamp ## 200,000 pending; 100,000 that fail beside 10,000 that do not
	@$(CHAOS) --faults volume,always-failing --events 0 --json $(RUNS)/6-volume.json

chaos-report: $(VENV)/dev.stamp ## write the results of these runs into docs/reliability.md
	@$(BIN)/python -m chaos.summary $(RUNS)/*.json

bench: $(VENV)/bench.stamp ## how fast it is beside others: about half an hour
	@$(BIN)/python -m benchmarks --write
	@$(BIN)/python -m benchmarks.hot --write

bench-quick: $(VENV)/bench.stamp ## the same beside plain Celery only: about 2 minutes
	@$(BIN)/python -m benchmarks --quick

$(VENV)/bench.stamp: benchmarks/requirements.txt $(VENV)/dev.stamp
	$(PIP) install -r benchmarks/requirements.txt
	@touch $@

matrix: $(VENV)/dev.stamp ## the wheel on other Pythons, Djangos, Celerys, drivers (10 min)
	@$(BIN)/python -m tests.matrix --write

picture: $(VENV)/dev.stamp ## take the pictures of the docs again (needs Chromium)
	@$(BIN)/python -m tests.browser.picture

clean: ## remove what make has made (not the data in var/)
	rm -rf $(VENV) build dist site staticfiles *.egg-info
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

PIN = $(VENV)/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links
# What is run are the versions that are tested.
AS_TESTED = --constraint requirements-dev.txt

requirements: $(VENV)/bin/python ## pin the newest versions that fit requirements*.in
	$(BIN)/python -m venv $(VENV)/uv
	$(VENV)/uv/bin/python -m pip install --quiet uv
	$(PIN) requirements-dev.in -o requirements-dev.txt
	$(PIN) $(AS_TESTED) requirements-run.in -o requirements-run.txt
	$(PIN) $(AS_TESTED) requirements.in -o requirements.txt
