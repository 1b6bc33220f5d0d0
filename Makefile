# One command per need. They run in the active virtual environment, else in .venv, which they make.

VENV := $(or $(VIRTUAL_ENV),.venv)
BIN  := $(VENV)/bin
ARGS ?=

# What an installation depends on. Python sources are not among it, for the installation is editable.
GENERATED := $(patsubst %.pyx,%.c,$(wildcard cython_ext/*/*.pyx))
SOURCES   := pyproject.toml setup.py .ci/install.py $(filter-out $(GENERATED),$(wildcard cython_ext/*/*.p?? cython_ext/*/*.c cython_ext/*/*.h))
DEV  := $(VENV)/.sona-pg-dev
BENCH := $(VENV)/.sona-pg-bench
# The frameworks' packages bring plugins for pytest, so they get an environment of their own.
FRAMEWORKS := $(VENV)-frameworks
# A demo needs fewer packages than development; where those are installed, they will do.
DEMO := $(if $(wildcard $(DEV)),$(DEV),$(VENV)/.sona-pg-demo)

.PHONY: help install build sbom demo dashboard test test-citus test-frameworks test-browser test-js lint docs docs-sql docs-reference bench eval clean chaos
.DEFAULT_GOAL := help

help:           ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(DEMO)   ## learn from real conversations and show what was learned (under 60 s)
	$(BIN)/sona-pg demo $(ARGS)

dashboard: $(DEMO) ## dashboard and chat in the browser, at http://127.0.0.1:8700; ARGS='--port 8800'
	$(BIN)/sona-pg serve --demo $(ARGS)

test: $(DEV)    ## all tests on real Postgres; ARGS='-k name' chooses
	$(BIN)/python -m pytest $(ARGS)

test-citus: $(DEV) ## distribution, recording, moves and a dead worker on Citus; docker/citus-cluster.sh start gives SONA_PG_CITUS_URL
	@test -n "$$SONA_PG_CITUS_URL" || { echo "SONA_PG_CITUS_URL names no coordinator: docker/citus-cluster.sh start" >&2; exit 1; }
	$(BIN)/python -m pytest -m citus $(ARGS)

test-frameworks: $(FRAMEWORKS)/.sona-pg-frameworks-tests ## adapters with the real packages; ARGS='-k mcp' chooses
	REQUIRE_FRAMEWORKS=1 LITELLM_LOCAL_MODEL_COST_MAP=True $(FRAMEWORKS)/bin/python -m pytest tests/frameworks \
	  -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function $(ARGS)

install: $(DEV) ## sona-pg, editable, with all that tests and checks need

test-browser: $(VENV)/.sona-pg-browser ## the pages in a real Chromium, with axe; screenshots in build/screenshots
	@command -v chromium google-chrome >/dev/null || { echo "no Chromium: apt-get install chromium" >&2; exit 1; }
	@test -e build/browser/node_modules/axe-core || npm install --silent --no-audit --no-fund --prefix build/browser axe-core@4
	$(BIN)/python -m pytest tests/service/browser/check_*.py tests/service/check_*.py $(ARGS)

test-js: $(DEV) ## the JavaScript client against a running service; needs Node 18 or later
	REQUIRE_NODE=1 $(BIN)/python -m pytest tests/service/test_js_client.py $(ARGS)

lint: $(DEV)    ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs-sql: $(DEV) ## docs/sql.md anew, from the comments in the database
	$(BIN)/python .ci/sql_docs.py

docs-reference: $(DEV) ## docs/python.md, configuration.md and errors.md anew, and docs/cli.md
	$(BIN)/python .ci/reference_docs.py
	$(BIN)/python -m sona_pg.cli.reference > docs/cli.md

docs: $(VENV)/.sona-pg-docs ## the documentation as a site in build/site; fails on any warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

build: $(DEV)   ## wheel and sdist in dist/
	$(BIN)/python -m build $(ARGS)

sbom: $(BIN)/python ## dist/sbom.json: what an installation with a service consists of (CycloneDX)
	$(BIN)/python -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet '.[server,cli,text,embedded]'
	build/sbom/bin/python -m pip uninstall --quiet --yes pip setuptools
	$(BIN)/python -m venv build/cyclonedx && build/cyclonedx/bin/python -m pip install --quiet 'cyclonedx-bom>=7,<8'
	mkdir -p dist
	build/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom.json build/sbom/bin/python

chaos: $(DEV)   ## every fault at once for minutes, then count and rebuild; ARGS='--minutes 20 --seed 1'
	$(BIN)/python -m tests.chaos $(ARGS)

bench: $(BENCH) ## every promise about speed beside its peer, 10 min; DATA=<folder>, ARGS='--quick' or a suite's name
	$(BIN)/python -m benchmarks $(if $(DATA),--data '$(DATA)') $(ARGS)

eval: $(BENCH)  ## what learning gains on real data; DATA=<folder>, ARGS='--only retrieval --seeds 1'
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.eval $(if $(DATA),--data '$(DATA)') $(ARGS)

clean:          ## remove what was built, and .venv
	rm -rf build dist .venv .venv-frameworks *.egg-info sona_pg/*.so .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f $(VENV)/.sona-pg-demo $(VENV)/.sona-pg-dev $(BENCH) $(GENERATED)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.sona-pg-%: $(SOURCES) | $(BIN)/python
	@echo "installing sona-pg[$*] into $(VENV) (a quarter of a minute to one, once)"
	$(BIN)/python .ci/install.py $*
	@touch $@

# The site needs its builder alone: nothing is compiled.
$(VENV)/.sona-pg-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])' \
	  | xargs $(BIN)/python -m pip install --quiet --no-input
	@touch $@

$(FRAMEWORKS)/.sona-pg-frameworks-tests: $(SOURCES) | $(BIN)/python
	@echo "installing sona-pg[frameworks-tests] into $(FRAMEWORKS) (a minute, once)"
	[ -x $(FRAMEWORKS)/bin/pip ] || $(BIN)/python -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python .ci/install.py frameworks-tests
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv $(VENV) && exit 0; rm -rf .venv; \
	    echo "$$python cannot make a virtual environment: install python3-venv" >&2; exit 1; fi; done; \
	echo "no Python 3.11 or newer: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1
