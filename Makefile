# Everything runs in a virtual environment of its own, made from nothing. Needs Python 3.11 or later, and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
METADATA := setup.cfg pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(PLUGINS))
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test lint type bench docs format clean

demo: $(VENV)/installed ## a streamed answer, the providers and the plugins, on the embedded mock
	@printf '\n$$ apex-llm chat "Say hello to the newcomer"\n' && $(BIN)/apex-llm chat "Say hello to the newcomer"
	@printf '\n$$ apex-llm providers\n' && $(BIN)/apex-llm providers
	@printf '\n$$ apex-llm plugins\n' && $(BIN)/apex-llm plugins

test: $(VENV)/developing ## all tests of all distributions, on all cores; ARGS="-k breaker" for some of them
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n auto)

lint: $(VENV)/developing ## style, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(VENV)/developing ## strict types, one run per distribution
	$(BIN)/mypy -p apex_llm_core
	@for plugin in $(PLUGINS); do echo "mypy -p $$(basename $$plugin)"; $(BIN)/mypy -p $$(basename $$plugin) || exit 1; done

bench: $(VENV)/developing $(VENV)/aiobotocore/installed ## measured against the bars of the project, as ratios in one run
	@for script in benchmarks/bench_*.py; do echo "$$script"; \
		AIOBOTOCORE_PYTHON=$(VENV)/aiobotocore/bin/python $(BIN)/python $$script || exit 1; done

docs: $(VENV)/developing ## rewrites the generated parts of the documentation, then tests every snippet
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pytest -k docs

format: $(VENV)/developing
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info plugins/*/build plugins/*/*.egg-info plugins/*/src/*.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/installed: $(METADATA)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "apex-llm needs Python 3.11 or later; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt pip setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[yaml]' $(addprefix -e ./,$(PLUGINS:%/apex_llm_mock=%/apex_llm_mock[emulate]))
	@touch $@

# A peer to measure against: it asks for another botocore than ours.
$(VENV)/aiobotocore/installed:
	$(PYTHON) -m venv $(VENV)/aiobotocore
	$(VENV)/aiobotocore/bin/python -m pip --disable-pip-version-check install -q aiobotocore==3.10.0
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[yaml,testing]' --group dev
	@touch $@
