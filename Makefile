# Every target sets up what it lacks (scripts/setup.sh); `make help` lists them.
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -q

.PHONY: help demo test test-full lint bench assets wheel lock clean

help: ## List the targets, a sentence each.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## Start the whole appliance with a simulated SPV and show the addresses.
	@sh scripts/setup.sh run
	@$(PYTHON) -m appliance demo $(ARGS)

test: ## Walk every path once, under 15 minutes on two cores.
	@sh scripts/setup.sh test
	$(PYTEST) $(ARGS)

test-full: ## Run the long campaigns too (faults at every step), under 40 minutes.
	@sh scripts/setup.sh test
	$(PYTEST) -m full $(ARGS)

lint: ## Check style, types and the walls between the rooms.
	@sh scripts/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: ## Print every benchmark of tests/bench, each beside its peer or floor.
	@sh scripts/setup.sh bench
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(PYTHON) $$bench || exit 1; done

assets: ## Build fonts, icons and scripts into the package.
	@sh scripts/setup.sh run

wheel: ## Build dist/arhivar-*.whl with templates, fonts, styles and migrations inside.
	@sh scripts/setup.sh test
	$(PYTHON) -m build --wheel --no-isolation --outdir dist .

lock: ## Renew the lock files with hashes (needs uv).
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock

clean: ## Remove what was built or installed here; the demo's data too.
	rm -rf .venv node_modules dist build demo-data appliance/fonts appliance/web/static/vendor .mypy_cache .ruff_cache .pytest_cache
	find appliance tests -name '__pycache__' -prune -exec rm -rf {} +
