# What people and CI run. Needs make and a Python 3.11 or newer; everything else is put into a virtual environment, .venv-<version>.
# PYTHON=python3.12 chooses another Python than python3. ARGS="-k queue" adds arguments to pytest. JOBS=1 runs the tests in one process; four keep two cores busy, as many tests wait.

.PHONY: help demo test test-all lint coverage wheel pytest-matrix bench soak mutants format clean
.DEFAULT_GOAL := help

export PYTHON ?=
ARGS ?=
export JOBS ?= 4

help:
	@echo "make demo       run the eleven example programs"
	@echo "make test       run the tests (ARGS='-k queue' chooses some)"
	@echo "make test-all   run them on every supported Python of this machine"
	@echo "make lint       ruff, mypy --strict, import-linter"
	@echo "make coverage   fail if a line of the core or of a primitive runs in no quick test of any supported Python (ARGS=--all measures the rest as well)"
	@echo "make wheel      build, install the wheel, and test it away from the sources"
	@echo "make pytest-matrix  test the pytest plugin with other versions of pytest, and without pytest-timeout and pytest-xdist"
	@echo "make bench      compare with gevent and other servers, and time the start-up"
	@echo "make soak       the long stress tests"
	@echo "make mutants    run the tests against copies of the packages with a fault each, which they must find"
	@echo "make format     let ruff rewrite the sources"

demo:
	@python=$$(scripts/venv demo) && "$$python" scripts/demo.py

test:
	@python=$$(scripts/venv dev) && "$$python" -m pytest -n $(JOBS) $(ARGS)

test-all:
	@pythons=$$(PYTHON= scripts/pythons) && status=0 && \
	echo "$$pythons" | { while read -r version path; do \
		echo "== Python $$version"; $(MAKE) --no-print-directory test PYTHON="$$path" </dev/null || status=1; \
	done; exit $$status; }

lint:
	@python=$$(scripts/venv dev) && PATH="$$(dirname "$$python"):$$PATH" && \
	ruff check . && ruff format --check . && mypy && lint-imports

coverage:
	@scripts/coverage $(ARGS)

wheel:
	@python=$$(scripts/venv dev) && scripts/wheel-test "$$python" -n $(JOBS) $(ARGS)

pytest-matrix:
	@python=$$(scripts/venv dev) && "$$python" scripts/pytest_matrix.py $(ARGS)

bench:
	@python=$$(scripts/venv dev) && "$$python" -m benchmarks.pytest_cost; "$$python" -m benchmarks.startup && "$$python" -m benchmarks.scale; "$$python" -m benchmarks.echo; "$$python" -m benchmarks.tls; "$$python" -m benchmarks.http; "$$python" -m benchmarks

soak:
	@python=$$(scripts/venv dev) && "$$python" -m pytest -m soak $(ARGS)

mutants:
	@python=$$(scripts/venv dev) && "$$python" -m pytest -n $(JOBS) -q -m mutants tests/mutants $(ARGS)

format:
	@python=$$(scripts/venv dev) && PATH="$$(dirname "$$python"):$$PATH" && ruff check --fix . && ruff format .

clean:
	rm -rf .venv-* .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
