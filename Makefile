# make demo | make check | make test | make lint | make matrix: each sets up .venv first, and again only when what it is made
# from has changed. make page needs npm only. What each proves: CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --no-build-isolation --config-settings editable_mode=strict
LAYERS := runtime train export artifacts

# Tests that need the MNIST files are skipped, with the reason, where this folder is missing.
LATENTWIRE_DATA ?= $(wildcard ../shared/data)
ifneq ($(LATENTWIRE_DATA),)
export LATENTWIRE_DATA := $(abspath $(LATENTWIRE_DATA))
endif

.PHONY: demo check test matrix faults fuzz soak page audit sbom lint style imports types format setup clean FORCE

demo: setup
	$(BIN)/latentwire demo

# The linters, and the part of the suite that takes about a minute on one core: all of the runtime; of training, export,
# sender and service what needs no trained network; which files are packaged.
QUICK := tests/packaging tests/runtime \
    $(addprefix tests/train/test_,data.py dense.py muon.py) \
    $(addprefix tests/export/test_,fit.py integer_layers.py states.py) \
    tests/send/test_rate.py tests/serve/test_names.py

check: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" $(QUICK)

# A process for each core, which shares nothing with the others; what threads compute there would only wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# Every encoder's packets to every decoder: other processors, versions, languages, a browser. Half an hour, and downloads.
INPUTS ?= 200
matrix: setup
	$(BIN)/python tests/matrix/run.py --out docs/matrix.md --count $(INPUTS)

# Sender and service killed 50 times on the way of 5000 packets, over HTTP and through Mosquitto where that is installed.
faults: setup
	$(BIN)/python tests/faults/run.py
	$(BIN)/python tests/faults/run.py --link mqtt || [ $$? = 77 ]

# Hostile bytes for everything that takes bytes, guided by coverage where atheris is there. What fails goes to tests/corpus.
MINUTES ?= 10
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Devices and a service under load while memory, disk, clock, broker and proxy fail in turns.
SOAK ?= 60
soak: setup
	$(BIN)/python tests/faults/soak.py --minutes $(SOAK)

# onnxruntime-web for the page of `latentwire serve --demo`, of the version that the matrix is run with.
NPM := tests/matrix/javascript
ASSETS := ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm

page: build/page/installed

build/page/installed: $(NPM)/package-lock.json
	mkdir -p build/npm build/page
	cp $(NPM)/package.json $(NPM)/package-lock.json build/npm
	cd build/npm && npm ci --ignore-scripts --omit=dev --no-audit --no-fund --silent
	cp $(addprefix build/npm/node_modules/onnxruntime-web/dist/,$(ASSETS)) build/page
	touch $@

# Known weaknesses of what is installed; ends with an error of its own where no source of advisories can be asked.
audit: setup
	$(BIN)/python tests/packaging/audit.py requirements-device.txt constraints.txt

# What is in it, as CycloneDX: what a device installs, each wheel with its hash; and all extras.
sbom: setup
	mkdir -p build/sbom
	$(BIN)/cyclonedx-py requirements requirements-device.txt --pyproject pyproject.toml --mc-type library \
	    --output-reproducible --of JSON -o build/sbom/latentwire-device.cdx.json
	$(BIN)/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml --mc-type library \
	    --output-reproducible --of JSON -o build/sbom/latentwire-all.cdx.json

lint: style imports types

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Which layer and which room may import which, in pyproject.toml.
imports: setup
	$(BIN)/lint-imports --no-cache --no-logo

types: setup
	$(BIN)/mypy -p latentwire.runtime -p latentwire.train -p latentwire.export -p latentwire.artifacts

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/installed

clean:
	rm -rf $(VENV) build latentwire.egg-info artifacts/build artifacts/*.egg-info

$(VENV)/libraries: pyproject.toml artifacts/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt setuptools
	$(INSTALL) -c constraints.txt -e '.[all,dev]' -e ./artifacts
	touch $@

# The strict editable install links file by file (type checkers can follow it), so a new file needs a new install.
$(VENV)/installed: $(VENV)/libraries $(VENV)/modules
	$(INSTALL) --no-deps -e . -e ./artifacts
	touch $@

$(VENV)/modules: FORCE | $(VENV)/libraries
	@find $(LAYERS) -type f ! -path '*/__pycache__/*' ! -path 'artifacts/build/*' ! -path '*.egg-info/*' | LC_ALL=C sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

FORCE:
