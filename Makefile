# `make demo` and `make test` set up what they need in a virtual environment of their own.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := docs/demo

# What is pure: no process is started, no network exported, no vendor's library called.
PURE := tests/artefacts tests/data tests/torch_modules tests/networks tests/checkpoints/test_blocks.py \
	tests/fusion/algebra tests/fusion/trace tests/fusion/regions tests/fusion/proof \
	tests/export/graph tests/export/precision tests/export/engine/test_header.py \
	tests/bench/parity/test_probes.py tests/bench/parity/test_report.py \
	tests/bench/parity/test_tolerance.py tests/bench/timing/test_intervals.py \
	tests/bench/timing/test_rounds.py tests/bench/report tests/docs/test_links.py \
	tests/docs/test_architecture.py tests/test_imports.py

.PHONY: check demo test lint bench bench-int8 faults fuzz picture clean

# A trained checkpoint, all the way to artefacts, a parity table, a benchmark and a report in demo/.
demo: $(INSTALLED)
	$(BIN)/edgerep deploy $(DEMO)/digits-repvgg.pth -o demo --size 32 --batch 1:8:32 \
		--input uint8 --mean 0.3059 --std 0.324 --precision fp32 --precision fp16 \
		--calibration $(DEMO)/calibration.npz --evaluate $(DEMO)/test.npz

# A process per core, each with one thread: the tests are many and small.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# While you work: lint, types and the tests of the pure parts.
check: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto $(PURE) --ignore tests/fusion/algebra/test_fuzz_algebra.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=docs/examples $(BIN)/mypy $(DEMO)/train_digits.py docs/pictures/take.py docs/examples/mynets tests/speed

# Fusing against the peers' converters, and where the time of the whole path goes. Minutes.
bench: $(INSTALLED)
	$(BIN)/python tests/speed/fuse_against_peers.py
	$(BIN)/python tests/speed/fuse_any.py
	$(BIN)/python tests/speed/whole_path.py
	$(BIN)/python tests/speed/start_up.py
	PYTHONPATH=tests $(BIN)/python tests/speed/single_weight_faults.py

# INT8 on trained networks, healthy and stressed, beside the quantisers of others; exit status 1 when
# a gate is missed. Half an hour. MODELOPT is a Python that has nvidia-modelopt: tests/int8/README.md.
INT8_RESULT := docs/results/int8-$(shell date +%F).json
bench-int8: $(INSTALLED)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m int8.run -o ../$(INT8_RESULT) \
		$(if $(MODELOPT),--modelopt $(MODELOPT))

# 2,000 damaged files of every kind that is read, each in a process of its own. Half an hour.
fuzz: $(INSTALLED)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/damaged/fuzz.py

# Plants more than a thousand faults in ONNX files and packages, and asks verify of each; prints the
# table of docs/checks.md. Minutes.
FAULTS := docs/results/faults-2026-11-27.json
INT8_FAULTS := docs/results/int8-faults-2026-11-28.json
faults: $(INSTALLED)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m faults.run -o ../$(FAULTS)
	cd tests && ../$(BIN)/python -m faults.tables ../$(FAULTS)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m faults.int8_run -o ../$(INT8_FAULTS)

# The README's picture; needs Chromium.
picture: $(INSTALLED)
	$(BIN)/edgerep report docs/results/demo-2026-11-24.json -o report.html --title digits-repvgg.pth
	$(BIN)/python docs/pictures/take.py report.html docs/pictures/report.png

clean:
	rm -rf $(VENV) demo build dist *.egg-info

$(INSTALLED): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt pip
	$(BIN)/python -m pip install --quiet -c .ci/constraints.txt --editable '.[all]' --group dev
	# For comparison. Its requirements would bring torchvision, which only its data loading needs.
	$(BIN)/python -m pip install --quiet -c .ci/constraints.txt --no-deps timm pillow
	touch $@
