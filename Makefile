# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests, C++ included where a
# compiler and CMake are. `make cpp` builds the C++ runtime alone, `make cpp-test` tests it.
PYTHON ?= python3
VENV ?= .venv
# Another build of torch: make demo TORCH="torch==2.13.0 --index-url ..."
TORCH ?= torch==2.13.0
# One try and a short wait: an extra index that can't be reached must not stall the set-up.
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --timeout 20 --retries 1
BIN = $(VENV)/bin
CPP_BUILD ?= build/cpp
CPP_DEPS ?= build/cpp-deps
CPP_FLAGS ?=
JOBS ?= 2

.PHONY: demo example minimum soak test test-serving test-serving-if-possible check lint format wheel cpp cpp-test cpp-arm64 clean

demo: $(VENV)/.demo
	$(BIN)/sacvit-export --ckpt examples/model.safetensors --fp16 --int8 --calib examples/pictures --force
	$(BIN)/sacvit-infer examples/pictures --eta 0.6 --save demo/overlays

# Writes the small bundle that is tracked under examples/ anew: for those who have no torch to export with.
example: $(VENV)/.demo
	$(BIN)/sacvit-export --ckpt examples/model.safetensors --int8 --calib examples/pictures --out build/model.sacvit --force
	$(BIN)/sacvit pack build/model.sacvit --precision int8 --out examples/int8/model.sacvit --force

# The oldest versions that pyproject.toml allows. make minimum MINIMUM="--runtime --python python3.12"
minimum:
	$(PYTHON) tests/minimum.py $(MINIMUM)

# What happens to a server, for SOAK minutes: every answer compared, memory and descriptors flat.
SOAK ?= 5
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak --minutes $(SOAK)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup
	@if ! command -v cmake > /dev/null || ! command -v c++ > /dev/null; then \
		echo "NOT TESTED: the C++ runtime; there is no cmake or no c++ here"; \
	elif ! cpp/scripts/dependencies.sh $(CPP_DEPS); then \
		echo "NOT TESTED: the C++ runtime; the packages it is built with can't be had here"; \
	else \
		$(MAKE) cpp-test; \
	fi

# The tests on Ray and on Triton, by their wheels: 0.3 GB to download, 1.0 GB on disk. Two environments over the one of
# `make test`, as the Triton of pytriton needs NumPy 1 and Ray Data's pyarrow NumPy 2.
SERVING = $(VENV)-serving/ray/.done $(VENV)-serving/triton/.done
test-serving: $(SERVING)
	$(VENV)-serving/ray/bin/python -m pytest tests/serving/ray
	$(VENV)-serving/triton/bin/python -m pytest tests/serving/triton

# The same where there may be no network: what can't be downloaded is not tested, and says so; a test that fails fails.
test-serving-if-possible: $(VENV)/.test
	@if ! $(MAKE) --no-print-directory $(SERVING); then \
		echo "NOT TESTED: Ray and Triton; their packages can't be had here"; \
	else \
		$(MAKE) --no-print-directory test-serving; \
	fi

SITE = import sysconfig; print(sysconfig.get_path("purelib"))
$(VENV)-serving/%/.done: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)-serving/$*
	printf '%s\n' "$(CURDIR)" "$$($(BIN)/python -c '$(SITE)')" \
		> "$$($(VENV)-serving/$*/bin/python -c '$(SITE)')/borrowed.pth"
	$(VENV)-serving/$*/bin/python -m pip --disable-pip-version-check --timeout 20 --retries 1 install -q $(SERVING_$*)
	touch $@

SERVING_ray = "ray[data,serve]>=2.51"
SERVING_triton = "nvidia-pytriton>=0.7" "tritonclient[grpc,http]>=2.50"

# What to run before every commit: under two minutes on two cores. `make test` runs all tests.
check: lint
	$(BIN)/python -m pytest -q -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files 'cpp/*.cpp' 'cpp/*.hpp' 'cpp/*.h' 'cpp/*.c' | xargs $(BIN)/clang-format --dry-run -Werror
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# Both formatters, in place.
format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files 'cpp/*.cpp' 'cpp/*.hpp' 'cpp/*.h' 'cpp/*.c' | xargs $(BIN)/clang-format -i

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(PIP) install -q $(TORCH)
	$(PIP) install -q -e ".[export]"
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install -q -e ".[export,train,dev]"
	-$(MAKE) --no-print-directory $(VENV)/tensorrt
	touch $@

# The run-time half of TensorRT 10 and 11, whose wheels can't stand in one environment, and the types of 10's builder.
# Tests compare what the code calls with them, and are skipped where there are no wheels.
$(VENV)/tensorrt:
	$(PIP) install -q --no-deps --target $@/10 "tensorrt-lean-cu12-bindings>=10.3,<11" "tensorrt-lean-cu12-libs>=10.3,<11"
	$(PIP) install -q --no-deps --target $@/11 "tensorrt-lean-cu13-bindings>=11" "tensorrt-lean-cu13-libs>=11"
	$(PIP) install -q --no-deps --target $@/stubs "tensorrt-stubs>=10.3,<11"

cpp:
	cpp/scripts/dependencies.sh $(CPP_DEPS)
	cmake -S cpp -B $(CPP_BUILD) -DSACVIT_DEPS=$(abspath $(CPP_DEPS)) $(CPP_FLAGS)
	cmake --build $(CPP_BUILD) --parallel $(JOBS)

cpp-test: $(VENV)/.demo
	test -d examples/model.sacvit || $(MAKE) demo
	$(MAKE) cpp CPP_FLAGS="$(CPP_FLAGS) -DSACVIT_PYTHON=$(abspath $(BIN)/python)"
	ctest --test-dir $(CPP_BUILD) --output-on-failure

cpp-arm64: $(VENV)/.demo
	test -d examples/model.sacvit || $(MAKE) demo
	cpp/scripts/arm64.sh $(BIN)/python

wheel: $(VENV)/bin/python
	$(PIP) wheel -q --no-deps -w dist .

clean:
	rm -rf $(VENV) $(VENV)-serving build dist demo *.egg-info examples/*.sacvit
