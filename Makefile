# make demo   the main job on real data, in .venv          make lint   ruff and mypy, in .venv-test
# make test   the fast tests, in .venv-test                make docs   the pages, in .venv-test, into docs/_build/html
# make test-all  all tests and the examples in docstrings  make mutants   the listed mutations, each noticed by its test
# make lowest the wheel, with the lowest versions it names, in .venv-lowest       make clean  remove what these made
# make package  the sdist and the wheel, into dist/, built and checked as a release publishes them
# Another Python: make test PYTHON=/path/to/python3.   Some tests only: make test ARGS="-k folds".

.PHONY: demo test test-all mutants docs lint lowest package clean
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
# In the order they are written; in random order: make test ORDER="--randomly-seed=1"
ORDER = -p no:randomly
PYTEST = OMP_NUM_THREADS=1 .venv-test/bin/python -m pytest -n auto --dist loadscope $(ORDER)
test: .venv-test/installed
	$(PYTEST) -m 'not slow' tests $(ARGS)

test-all: .venv-test/installed
	$(PYTEST) $(ARGS)

mutants: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/python benchmarks/mutants.py --listed

docs: .venv-test/installed
	OMP_NUM_THREADS=1 .venv-test/bin/sphinx-build --fail-on-warning --keep-going -j 2 docs docs/_build/html

lint: .venv-test/installed
	.venv-test/bin/ruff check
	.venv-test/bin/ruff format --check
	.venv-test/bin/mypy

# The wheel is made from the sdist; first it is used with what it must have alone, then tested with all it can have
UV = .venv-test/bin/uv
.venv-lowest/installed: .venv-test/installed $(shell find xh2cm -name '*.py' -o -name '*.cpp' -o -name '*.cu')
	$(UV) venv --quiet --clear --python .venv-test/bin/python $(@D)
	$(UV) build --quiet --out-dir $(@D)/dist
	$(UV) pip install --quiet --python $(@D) --resolution lowest-direct $$(ls $(@D)/dist/*.whl)
	cd $(@D) && OMP_NUM_THREADS=1 bin/python -W error::xh2cm.H2CMWarning ../.ci/bare.py
	$(UV) pip install --quiet --python $(@D) --resolution lowest-direct "$$(ls $(@D)/dist/*.whl)[test]"
	touch $@

lowest: .venv-lowest/installed
	cd .venv-lowest && OMP_NUM_THREADS=1 bin/python -m pytest -n auto --dist loadscope $(ORDER) \
		$(addprefix ../tests/,$(addsuffix .py,data/test_cf data/test_check data/test_units evaluate/test_scores io/test_export loop/test_nvrtc))

package: .venv-test/installed
	.venv-test/bin/python .ci/package.py

clean:
	rm -rf .venv .venv-test .venv-lowest build dist docs/_build docs/reference/generated .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find xh2cm tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
