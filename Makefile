.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos lint types fmt languages package infra-check doctor operate licences release requirements clean
PY := .venv/bin/python

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv and node_modules (nothing to do when they are up to date)
	@PYTHON='$(PYTHON)' tools/setup.sh

# In a terminal the sandbox gets a foreground process group of its own: Ctrl-C then reaches it and not make, which would
# otherwise end with 130 whatever the sandbox returns.
demo: setup ## Play the whole story in a browser: prints READY <url>, Ctrl-C ends it
	@if [ -t 0 ] && (: </dev/tty) 2>/dev/null && command -v bash >/dev/null; then \
		exec bash -mc '$(PY) -m sandbox; exit $$?'; fi; exec $(PY) -m sandbox

test: setup ## Run the tests (ARGS="-k word" passes options to pytest)
	@$(PY) -m pytest $(ARGS)

chaos: setup ## Send 10,000 messages while workers die and vendors fail (ARGS="--count 1000 --kills 5 --seed 2")
	@$(PY) -m tests.chaos $(ARGS)

lint: setup ## Check style and known mistakes
	@$(PY) -m ruff check .

types: setup ## Check types
	@$(PY) -m mypy

fmt: setup ## Fix what ruff can fix by itself
	@$(PY) -m ruff check --fix .

languages: setup ## Bring the catalogues of connector/locales up to date with the strings in the source
	@$(PY) tools/languages.py

package: setup ## Build dist/connector.zip, what Azure runs; prints one JSON line
	@$(PY) tools/package.py $(ARGS)

CHECKOV := .cache/checkov
infra-check: setup ## Check infra/ for known mistakes (checkov; bicep where it is installed); `make test` compares it with the code
	@if command -v bicep >/dev/null; then for file in main events; do \
		bicep build infra/$$file.bicep --stdout >/dev/null || exit 1; done; fi
	@cksum requirements-infra.txt | cmp -s - $(CHECKOV)/.stamp || { rm -rf $(CHECKOV) && \
		$(PY) -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-input --no-deps --target $(CHECKOV) \
		--only-binary :all: --require-hashes -r requirements-infra.txt && cksum requirements-infra.txt >$(CHECKOV)/.stamp; }
	@LOG_LEVEL=CRITICAL PYTHONPATH=$(CHECKOV) $(PY) $(CHECKOV)/bin/checkov --directory infra --framework bicep --skip-download --compact --quiet \
		>$(CHECKOV)/report; code=$$?; cat $(CHECKOV)/report; \
		! grep -q 'Parsing errors: [1-9]' $(CHECKOV)/report && exit $$code

doctor: setup ## Say what is wrong with a stamp (GROUP=its resource group)
	@$(PY) -m connector.operations --group '$(GROUP)' doctor

operate: setup ## Run an operator's command (GROUP=rg-name ARGS="erase CONNECTION"; ARGS=--help lists them)
	@$(PY) -m connector.operations --group '$(GROUP)' $(ARGS)

licences: setup ## Write docs/licences.md again, after a change of requirements
	@$(PY) tools/licences.py

release: setup ## Make a version of what is unreleased in CHANGELOG.md, commit and tag it (VERSION=1.2.3)
	@$(PY) tools/release.py '$(VERSION)'

UV := .cache/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links
requirements: setup ## Compile the hashed requirement files again (ARGS=--upgrade for newest versions)
	@$(PY) -m pip install --quiet --no-cache-dir --upgrade --target .cache/uv uv
	@$(UV) $(ARGS) requirements.in -o requirements.txt
	@$(UV) $(ARGS) requirements-dev.in -o requirements-dev.txt
	@$(UV) $(ARGS) requirements-infra.in -o requirements-infra.txt

clean: ## Remove everything that set-up and the tests made
	rm -rf .venv node_modules dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
