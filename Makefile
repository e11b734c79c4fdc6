# Everything a person does with this project. `make help` lists it.
# Needs python3.11 or later with venv; installs into .venv and nowhere else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := signal_tasks shop orders products customers notifications \
	chaos tests celery_app.py manage.py

# Two environments in which the settings have to make sense.
DEVELOPMENT := DEBUG=1 DATABASE_URL=sqlite://:memory:
PRODUCTION = DEBUG=0 DATABASE_URL=postgres://shop@db/shop \
	ALLOWED_HOSTS=shop.example.com \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(50))')

.DEFAULT_GOAL := help
.PHONY: help run demo admin worker started test check clean requirements \
	bench bench-quick chaos chaos-all chaos-volume

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Installed again only when the pins have changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(VENV)/bin/python
	$(PIP) install -r requirements-dev.txt
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

test: $(VENV)/dev.stamp ## the whole suite: on SQLite, then on PostgreSQL
	TEST_DATABASE=sqlite $(BIN)/python -m pytest
	TEST_DATABASE=postgres $(BIN)/python -m pytest

check: $(VENV)/dev.stamp ## lint, types, layers, migrations, settings, package
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(DEVELOPMENT) $(BIN)/python manage.py makemigrations --check --dry-run
	$(DEVELOPMENT) $(BIN)/python manage.py check --fail-level WARNING
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	.ci/check-package $(BIN)/python

CHAOS = $(BIN)/python -m chaos

chaos: $(VENV)/dev.stamp ## kill, freeze and starve everything; count what is left (8 min)
	@$(CHAOS) --markdown var/chaos/postgres-redis.md

chaos-all: $(VENV)/dev.stamp ## its short form on the other databases and brokers
	@$(CHAOS) --short --database mariadb --markdown var/chaos/mariadb-redis.md
	@$(CHAOS) --short --broker rabbitmq --markdown var/chaos/postgres-quorum.md
	@$(CHAOS) --short --broker rabbitmq-classic --markdown var/chaos/postgres-classic.md

chaos-volume: $(VENV)/dev.stamp ## 200,000 owed; 100,000 that fail beside 10,000 that do not
	@$(CHAOS) --faults volume,hopeless --events 0 --markdown var/chaos/volume.md

bench: $(VENV)/bench.stamp ## how fast it is beside others: about 15 minutes
	@$(BIN)/python -m benchmarks --write

bench-quick: $(VENV)/bench.stamp ## the same beside plain Celery only: about 2 minutes
	@$(BIN)/python -m benchmarks --quick

$(VENV)/bench.stamp: benchmarks/requirements.txt $(VENV)/dev.stamp
	$(PIP) install -r benchmarks/requirements.txt
	@touch $@

clean: ## remove what make has made (not the data in var/)
	rm -rf $(VENV) build dist staticfiles *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

PIN = $(VENV)/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--no-annotate --no-header --no-emit-index-url

requirements: $(VENV)/bin/python ## pin the newest versions that fit requirements*.in
	$(BIN)/python -m venv $(VENV)/uv
	$(VENV)/uv/bin/python -m pip install --quiet uv
	$(PIN) requirements.in -o requirements.txt
	$(PIN) requirements-dev.in -o requirements-dev.txt
