# make book: the HTML, from stored outputs.   make test: every test and every notebook.   make lab: the notebooks, live.
# make pdf: the book as a PDF and an EPUB, with Chromium; the landing page then links both.
# make outputs: every notebook executed anew, in place, on a GPU if there is one.
# make lock: pages.lock, the newest versions of what makes the pages.
# Each sets up .venv by itself. CUDA=13 takes the CUDA 13 stack; PYTHON=python3.12 another interpreter.
# By hand: book/tools/atlas.py writes the epilog atlas, widgets.py the network in the page, gain.py and climb.py figures, paths.py the reading times, pays.py the measured times in the page, colab.py notebooks for Colab.

CUDA ?= 12
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: book pdf test lab outputs lint lock clean

book: .venv/pages
	rm -rf _build/html/_modules # Sphinx keeps a page of source that is newer than the source, even if it is of an older one
	$(BIN)/jupyter-book build . --all -W --keep-going -n --quiet
	@echo "The book: _build/html/index.html"

pdf: .venv/print book
	$(BIN)/python book/tools/print.py

test: .venv/cuda$(CUDA) book
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --nbval -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lab: .venv/cuda$(CUDA)
	$(BIN)/jupyter lab notebooks

outputs: .venv/cuda$(CUDA)
	$(BIN)/python book/tools/outputs.py

lint: .venv/cuda$(CUDA)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

# In an environment of its own, since .venv is installed from the file that this writes.
lock: BIN := $(subst .venv,_build/lock,$(BIN))
lock:
	$(PYTHON) -m venv _build/lock
	sed '/^# To run/q' requirements.txt > _build/lock/pages.txt
	$(INSTALL) "$$(grep '^uv' requirements.txt)"
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file pages.lock _build/lock/pages.txt pyproject.toml

clean:
	rm -rf .venv _build

# What the pages need: the first section of requirements.txt, each package in the one version, with a known hash, of pages.lock.
.venv/pages: requirements.txt pages.lock pyproject.toml
	$(PYTHON) -m venv --upgrade-deps .venv # older pips fail to resolve the CUDA 13 stack
	sed '/^# To print/q' requirements.txt > .venv/pages.txt
	$(INSTALL) --require-hashes -c pages.lock -r .venv/pages.txt
	$(INSTALL) --no-deps --no-build-isolation -e . # which has no hash; by the setuptools of pages.lock
	touch $@

# What printing needs besides.
.venv/print: .venv/pages
	sed '/^# To run/q' requirements.txt > .venv/print.txt
	$(INSTALL) --require-hashes -c pages.lock -r .venv/print.txt
	touch $@

# What running needs: all of it; on Linux in one stack of CUDA libraries.
.venv/cuda12: .venv/pages
	$(INSTALL) -r requirements.txt -e .
	touch $@

.venv/cuda13: .venv/pages
	sed '/^# CUDA 12/q' requirements.txt > .venv/tools.txt
	$(INSTALL) -r .venv/tools.txt -e '.[cu13]'
	touch $@
