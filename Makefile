# Two settings reach every command from the environment: MNEMONIC_DATA, the folder of
# the data sets, and MNEMONIC_CACHE, where trained networks are kept.
PYTHON ?= python3
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
BIN := .venv/bin
READY := .venv/.ready
PAGES := _build/singlehtml
PDF := _build/forgetting-in-one-shot.pdf
ZIP := _build/forgetting-in-one-shot.zip
PACK := _build/instructors-pack
PUBLISH := $(BIN)/python -m mnemonic.publish --profile quick
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# make LOCKED=1 sets up the versions of requirements.lock, for the published book.
INSTALL := $(if $(LOCKED),$(PIP) --require-hashes -r requirements.lock && \
  $(PIP) --no-deps --no-build-isolation -e .,$(PIP) -e '.[book,test]')

# make test SOAK=1 also runs the tests that are left to the night: see pyproject.toml.

# pip's own "user = true" (of a distribution, of a pip.conf) fails in every .venv.
export PIP_USER := 0

# Waiting threads sleep: on a busy machine, spinning ones slow each other down tenfold.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help book chapter test full bench soak lock pdf epub zip slides figures proof quiz student \
  pack clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

book: $(READY) ## Run the notebooks (quick profile) and render the book to _build/html
	$(PUBLISH)

chapter: $(READY) ## Run and render one chapter: make chapter N=01
	@test -n "$(N)" || { echo "Name a chapter: make chapter N=01" >&2; exit 1; }
	$(PUBLISH) --only $(N)

test: $(READY) ## Check the style, then test the package, the notebooks and the project
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov -n 2 --dist worksteal $(if $(SOAK),--soak)

full: $(READY) ## As book, on all of MNIST (in MNEMONIC_DATA): needs a GPU, or hours
	$(BIN)/python -m mnemonic.publish --profile full

bench: $(READY) ## Measure how long forgetting takes, the Fisher beside its limit, two workers
	$(PIP) -e '.[bench,dask,ray]' # what the Fisher and the workers are compared with
	$(BIN)/python benchmarks/forgetting.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/workers.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fisher.py

soak: $(READY) ## Kill, spoil and tire book and package for hours; record the counts
	$(BIN)/python benchmarks/soak.py

lock: $(READY) ## Write requirements.lock: the versions in .venv, with hashes; needs uv
	@command -v uv >/dev/null || { echo "The lock file is written by uv, which is not" \
	  "here: python3 -m pip install uv" >&2; exit 1; }
	@mkdir -p _build && $(BIN)/python -m pip freeze --exclude-editable | \
	  sed 's/+[a-z0-9.]*$$//' >_build/versions.txt # local builds have no public hash
	uv pip compile -q pyproject.toml --extra book --extra test \
	  --constraint _build/versions.txt --python $(BIN)/python \
	  --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-header \
	  --no-annotate -o requirements.lock

pdf: $(READY) ## Print the quick book to one PDF file; needs Chromium
	@test -n "$(CHROMIUM)" || { echo "The PDF is printed with Chromium, which is not here." \
	  "Install it (Debian, Ubuntu: apt-get install chromium), or name a browser that" \
	  "takes its options: make pdf CHROMIUM=/path/to/chrome" >&2; exit 1; }
	$(PUBLISH) --builder singlehtml
	@cp $(PAGES)/book/intro.html $(PAGES)/book.html # its links start from this folder
	@page=$$($(BIN)/python -c 'import pathlib, sys; \
	  print(pathlib.Path(sys.argv[1]).absolute().as_uri())' $(PAGES)/book.html) && \
	"$(CHROMIUM)" --headless $$([ "$$(id -u)" != 0 ] || echo --no-sandbox) --disable-gpu \
	  --no-pdf-header-footer --generate-pdf-document-outline \
	  --virtual-time-budget=60000 --print-to-pdf=$(PDF) "$$page"
	@test -s $(PDF) && echo "the PDF: $(PDF)"

epub: $(READY) ## The quick book as one EPUB file
	$(PUBLISH) --builder epub
	@echo "the EPUB: _build/epub/forgetting-in-one-shot.epub"

zip: $(READY) ## The quick book as a zip of pages that open from disk
	$(PUBLISH)
	@rm -rf $(ZIP) $(ZIP:.zip=) && cp -r _build/html $(ZIP:.zip=) && cd _build && \
	  ../$(BIN)/python -m zipfile -c $(notdir $(ZIP)) $(notdir $(ZIP:.zip=))/ && \
	  rm -rf $(notdir $(ZIP:.zip=)) && echo "the zip: $(ZIP)"

slides: $(READY) ## Slides for one lecture, with the figures of the quick book
	$(PUBLISH) --builder revealjs

figures: $(READY) ## Every figure of the quick chapters as PNG, SVG and PDF, and their alt texts
	MNEMONIC_FIGURES="svg pdf" $(PUBLISH) --no-render --build _build/drawn
	$(BIN)/python book/_extensions/from_chapter.py _build/drawn/executed/quick _build/figures
	@echo "the figures: _build/figures"

quiz: $(READY) ## Every question of the quick chapters with its answers, as one file
	$(PUBLISH) --no-render
	$(BIN)/python -m mnemonic.press.questions _build/executed/quick _build/quiz.md

proof: figures ## Each figure next to its caption and alt text, on one page for the editor
	@echo "the proof: _build/figures/proof.html"

student: $(READY) ## The quick book and its notebooks without solutions
	$(BIN)/python -m mnemonic.press.editions --profile quick

pack: slides student figures quiz ## For instructors: slides, exams, plans, quiz, figures, in one zip
	@rm -rf $(PACK) $(PACK).zip && mkdir -p $(PACK)/student && \
	  cp teaching/*.md _build/quiz.md LICENSE-text $(PACK) && \
	  cp -r _build/revealjs $(PACK)/slides && cp -r _build/figures $(PACK) && \
	  cp -r _build/student/notebooks.zip _build/student/html $(PACK)/student && \
	  cd _build && ../$(BIN)/python -m zipfile -c $(notdir $(PACK)).zip $(notdir $(PACK))/ && \
	  rm -rf $(notdir $(PACK)) && echo "the pack: $(PACK).zip"

clean: ## Remove what was built; .venv and trained networks (in the cache folder) stay
	rm -rf _build .coverage .pytest_cache .ruff_cache .hypothesis

# One set-up at a time, where flock is there; the second finds the work done.
$(READY): pyproject.toml
	@exec 9<pyproject.toml; ! command -v flock >/dev/null || flock 9; \
	[ ! $@ -nt pyproject.toml ] || exit 0; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The book needs Python 3.11 or newer, and $(PYTHON) is not." \
	  "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "$(PYTHON) cannot make virtual environments." \
	  "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	echo "setting up .venv: some minutes, and several GB (PyTorch) …"; \
	$(PYTHON) -m venv .venv && \
	$(INSTALL) && \
	touch $@
