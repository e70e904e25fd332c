# make demo   the main job on real data, in .venv          make lint   ruff and mypy, in .venv-test
# make test   the tests, in .venv-test                     make docs   the pages, in .venv-test, into docs/_build/html
# make clean  remove what these made
# Another Python: make test PYTHON=/path/to/python3.   Some tests only: make test ARGS="-k folds".

.PHONY: demo test docs lint clean
.DEFAULT_GOAL := test

PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.venv/installed: EXTRAS = all
.venv-test/installed: EXTRAS = dev

.venv/installed .venv-test/installed: pyproject.toml constraints.txt
	$(if $(PYTHON),,$(error xh2cm needs Python 3.11 or newer, and neither python3.11 nor python3 is: \
	install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3))
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: .venv/installed
	.venv/bin/python examples/delaware.py

# One thread a worker: the tensors of the tests are small, and threads that wait for each other are slow
test: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n auto --dist loadscope $(ARGS)

docs: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/sphinx-build --fail-on-warning --keep-going -j 2 docs docs/_build/html

lint: .venv-test/installed
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check
	.venv-test/bin/mypy

clean:
	rm -rf .venv .venv-test build dist docs/_build docs/reference/generated .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find xh2cm tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
