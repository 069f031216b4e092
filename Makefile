# Everything is made in .venv; what is installed is installed once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

WEB := client_web
PAGE := server/rowcast_server/page/index.html
# Node.js 20 or newer; where there is none, all is as it is but for the page.
NODE := $(if $(wildcard $(WEB)/package.json),$(shell node -e \
  'process.exit(Number(process.versions.node.split(".")[0] < 20))' 2>/dev/null && echo node))

.DEFAULT_GOAL := help
.PHONY: help demo test web page kernels lint check parity cluster fuzz soak coverage pythons format bench figures docs clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

export DEMO_PROMPT := $(value PROMPT)# for a shell: quotes, backticks and $ stay as they are

demo: $(VENV)/installed-server $(if $(NODE),page)  ## a server and a client: a picture forms in the terminal
	$(BIN)/rowcast demo $(if $(DEMO_PROMPT),"$$DEMO_PROMPT") --out demo-output

test: $(VENV)/installed-test $(VENV)/proxies $(if $(NODE),page $(VENV)/chromium)  ## all tests
	$(BIN)/python -m pytest --numprocesses 2
	$(if $(NODE),$(MAKE) --no-print-directory web,@echo "no Node.js 20 or newer here: client_web was not tested")

web: $(VENV)/installed-server $(WEB)/dist page $(VENV)/chromium $(VENV)/gradio/installed  ## the tests of the package for browsers, and of the page in Chromium
	cd client_web && npm test && npm run size && npm run test:browser

page: $(PAGE)  ## build the page that the server serves

kernels: $(VENV)/ziglang  ## compile the preview decoder of client_web anew: the same bytes of the same kernels.c
	cd $(WEB) && node tools/build-kernels.mjs ../$(BIN)/python

lint: $(VENV)/installed-test $(if $(NODE),$(WEB)/node_modules)  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy examples/raw_client.py examples/web/gradio_block.py tools
	$(if $(NODE),cd client_web && npm run check)

check: lint test  ## lint, types, tests

parity: $(VENV)/installed-test  ## longer proofs on the shipped model
	$(BIN)/python -m pytest -m parity -s

soak: $(VENV)/installed-test  ## load, links cut, servers killed, slow links: 45 minutes, figures against bars
	$(BIN)/python -m tests.soak $(NAMES)

cluster: $(VENV)/installed-test $(if $(NODE),page $(VENV)/chromium)  ## the tests of clients, protocol and page, drawn on by a local Ray cluster
	ROWCAST_TEST_ENGINES=ray $(BIN)/python -W ignore -m pytest -W ignore tests/client_py/clients tests/test_conformance_kit.py
	$(if $(NODE),cd $(WEB) && ROWCAST_SERVE="--cluster local --replicas 2" npx vitest run --project browser tests/browser/page.test.ts)

fuzz: $(VENV)/installed-fuzz  ## decoders and sessions on random input: all, or TARGET=name, MINUTES of each
	$(BIN)/python -m tests.fuzz $(TARGET) --minutes $(or $(MINUTES),1)

coverage: $(VENV)/installed-test $(VENV)/proxies  ## the share of lines and branches that tests run, with a floor per package
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --numprocesses 2 --cov --cov-report=
	$(BIN)/coverage report --include='client_py/*' --fail-under=97
	$(BIN)/coverage report --include='server/*' --fail-under=95
	$(BIN)/coverage report --include='vqgan_export/*' --fail-under=96
	$(BIN)/coverage report --include='bench/*' --fail-under=80

format: $(VENV)/installed-test  ## straighten the layout of the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/installed-test $(if $(NODE),page) $(VENV)/chromium  ## the benchmarks: bytes on the wire, tokens a second, tiers of pixels, bandwidth against latency
	$(BIN)/rowcast bench wire
	$(BIN)/rowcast bench engine
	$(BIN)/rowcast bench decode
	$(BIN)/rowcast bench transport

pythons: $(VENV)/installed-dev $(VENV)/proxies  ## the tests on every other Python that is there (nox)
	$(BIN)/python -m nox

figures: $(VENV)/installed-test  ## run what the documents' figures come from, and write them there
	$(BIN)/python tools/make_figures.py

clean:  ## remove everything made here
	rm -rf $(VENV) $(WEB)/node_modules $(WEB)/dist $(dir $(PAGE)) build dist demo-output site .nox .coverage fuzz-faults out rowcast-pictures *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis

docs: $(VENV)/installed-docs  ## the site, with the reference made from docstrings, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Made anew where a first try was cut short (pip comes last), or where it is of a Python that is too old.
WHOLE := import sys, pip; sys.exit(sys.version_info < (3, 11))
ifneq ($(shell ! test -e $(BIN)/python || $(BIN)/python -c '$(WHOLE)' >/dev/null 2>&1 || echo broken),)
$(VENV)/bin/python: broken
.PHONY: broken
broken:
endif

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Rowcast needs Python 3.11 or newer; \
$(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# torch is not among what the server needs: from clone to picture without it.
$(VENV)/installed-server: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing the server and the client into $(VENV) …"
	$(PIP) install --constraint constraints.txt --editable '.[server,bench]'
	@touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing everything that the tests need into $(VENV) (torch among it) …"
	$(PIP) install --constraint constraints.txt 'torch==2.13.0'
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/installed-server

$(VENV)/installed-dev: $(VENV)/installed-test

$(VENV)/installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing the extra $* into $(VENV) …"
	$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(WEB)/node_modules: $(WEB)/package.json $(WEB)/package-lock.json
	@echo "installing what builds the page into $@ …"
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB)/dist: $(WEB)/node_modules $(shell find $(WEB)/src -type f 2>/dev/null)
	cd $(WEB) && npm run --silent build
	@touch $@

$(PAGE): $(WEB)/dist $(WEB)/vite.config.ts $(shell find $(WEB)/src $(WEB)/page $(WEB)/tools bench/results/transport.json -type f 2>/dev/null)
	cd $(WEB) && npm run --silent page -- --logLevel warn
	@touch $@

# A C compiler for WebAssembly.
$(VENV)/ziglang: $(VENV)/bin/python
	$(PIP) install 'ziglang==0.17.0'
	@touch $@

# A browser for the page's tests, where the system has none.
$(VENV)/chromium: | $(VENV)/bin/python
	@command -v chromium chromium-browser google-chrome >/dev/null || { echo "installing Debian's chromium …"; \
	  { apt-get install --yes chromium || { apt-get update && apt-get install --yes chromium; }; } >/dev/null 2>&1; } || \
	  echo "chromium is not to be had that way: install it, or the tests of the page fail"
	@touch $@

# Gradio for its example: an environment of its own, since it wants other versions than what is pinned here.
$(VENV)/gradio/installed: $(VENV)/bin/python
	@echo "installing Gradio into $(@D) …"
	@rm -rf $(@D) && $(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet --no-input install --only-binary :all: 'gradio==6.31.0' --editable .
	@touch $@

# nginx and caddy for tests/deploy, where the system has none: Debian's packages, unpacked here and not
# installed, so that none of them starts. Where that cannot be, the tests say so.
$(VENV)/proxies: | $(VENV)/bin/python
	@rm -rf $@.new && mkdir $@.new && cd $@.new && for name in nginx caddy; do \
	  PATH="$$PATH:/usr/sbin" command -v $$name >/dev/null && continue; \
	  echo "unpacking Debian's $$name into $@ …"; \
	  { apt-get download $$name || { apt-get update && apt-get download $$name; }; } >$$name.log 2>&1 && \
	  dpkg -x $${name}_*.deb . && rm $${name}_*.deb || { \
	    echo "$$name is not to be had that way: install it, or tests/deploy fails"; exit 0; }; \
	done && cd .. && mv proxies.new proxies
