# Everything is made in .venv; what is installed is installed once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test lint check parity format bench figures clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/installed-server  ## a server and a client: a picture forms in the terminal
	$(BIN)/rowcast demo $(if $(PROMPT),"$(PROMPT)") --out demo-output

test: $(VENV)/installed-test  ## all tests
	$(BIN)/python -m pytest

lint: $(VENV)/installed-test  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test  ## lint, types, tests

parity: $(VENV)/installed-test  ## longer proofs on the shipped model
	$(BIN)/python -m pytest -m parity -s

format: $(VENV)/installed-test  ## straighten the layout of the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/installed-test  ## the benchmarks: bytes on the wire, tokens a second, tiers of pixels
	$(BIN)/rowcast bench wire
	$(BIN)/rowcast bench engine
	$(BIN)/rowcast bench decode

figures: $(VENV)/installed-test  ## run what the README's figures come from, and write them there
	$(BIN)/python docs/make_figures.py

clean:  ## remove everything made here
	rm -rf $(VENV) build dist demo-output

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

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
