# Every target makes what it needs: a virtual environment, the tools, the extension. GNU make 3.81 (macOS) is enough.
#
#   make build     the extension, in place
#   make run       the demonstration server          make bench   microbenchmarks
#   make test      the tests                         make fuzz    fuzz pure parts for FUZZ_SECONDS (Linux, glibc)
#   make lint      style and types                   make wheel   build a wheel, install it, run the tests on it
#   make asan      the tests under AddressSanitizer and UBSan (Linux, glibc)
#   make faults    every call of OpenSSL fails in turn; and is that seen? (Linux, x86-64 and aarch64)
#   make cov       coverage of Python and Cython     make cross   compile the C headers for other systems
#   make docs      the site, in build/docs/html
#   make tls-audit what scanners of TLS servers (sslyze, testssl.sh) say
#   make bench-load  whole servers, ours and others  make clean       remove what was built
#   make distclean   the virtual environment too
#
# PYTHON=python3.13 chooses the interpreter, VENV=folder the environment, ARGS="-k tls" goes to pytest,
# WEB_OPENSSL_DIR=folder links another OpenSSL statically, WEB_WERROR=1 makes C warnings errors.

VENV ?= .venv
ARGS ?=
FUZZ_SECONDS ?= 300

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
BASE_PYTHON := $(shell tools/python.sh $(PYTHON))
EXT_SUFFIX := $(shell $(BASE_PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')

CORE := src/web/_core$(EXT_SUFFIX)
CORE_SOURCES := $(wildcard src/web/*.pyx src/web/*.pxi src/web/*.h) setup.py tools/exports.map
READY := $(VENV)/.made$(EXT_SUFFIX)

# Where tools/system_packages.sh unpacks header files when it may not install them. Folders that do not exist are
# ignored by the compiler. The linker finds a static OpenSSL there.
ifeq ($(shell uname),Linux)
DEPS := $(CURDIR)/.deps/usr
PYTHON_VERSION := $(shell $(BASE_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
MULTIARCH := $(shell $(BASE_PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH") or "none")')
export CPATH := $(CPATH)$(if $(CPATH),:)$(DEPS)/include/python$(PYTHON_VERSION):$(DEPS)/include:$(DEPS)/include/$(MULTIARCH)
export LIBRARY_PATH := $(LIBRARY_PATH)$(if $(LIBRARY_PATH),:)$(DEPS)/lib/$(MULTIARCH)
endif

# A change of these settings is a reason to build again.
SETTINGS := $(WEB_OPENSSL_DIR) $(WEB_WERROR) $(CC) $(CFLAGS) $(LDFLAGS)
$(shell mkdir -p build; echo '$(SETTINGS)' | cmp -s - build/settings || echo '$(SETTINGS)' > build/settings)

GLIBC := $(shell getconf GNU_LIBC_VERSION 2>/dev/null)

.PHONY: run test lint asan faults cov bench bench-load fuzz tls-audit wheel cross docs clean distclean build
.DEFAULT_GOAL := build

build: $(CORE)

run: $(CORE)
	@$(PY) -m web

test: $(CORE) $(VENV)/.group-test
	$(PY) -m pytest --benchmark-disable $(ARGS)

bench-load: $(CORE)
	$(PY) bench/load/run.py $(ARGS)

bench: $(CORE) $(VENV)/.group-test
	$(PY) -m pytest bench/micro --benchmark-max-time=0.2 --benchmark-min-rounds=3 --benchmark-disable-gc \
	    --benchmark-columns=min,median,iqr,rounds,iterations --benchmark-sort=name $(ARGS)
	$(PY) bench/compare_instructions.py $(BENCH_OPTIONS)

lint: $(CORE) $(VENV)/.group-lint
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	PATH="$(VENV)/bin:$$PATH" cython-lint src # it calls pycodestyle by name
	$(PY) -m mypy src tests examples tools
	$(PY) -m mypy.stubtest web._core
	$(VENV)/bin/zizmor --quiet --offline .github/workflows

# ---- the environment ----

$(READY):
	@test -n "$(BASE_PYTHON)"
	@tools/system_packages.sh $(BASE_PYTHON)
	@tools/make_venv.sh $(BASE_PYTHON) $(VENV)
	@touch $@

$(VENV)/.group-%: pyproject.toml $(READY)
	@echo "installing the tools for $*"
	@$(PIP) install --group $*
	@touch $@

$(CORE): $(CORE_SOURCES) pyproject.toml build/settings $(VENV)/.group-build
	@tools/build_editable.sh $(PY)
	@touch $@

# ---- builds with other flags: a copy of the sources each, so that they cannot be mixed up ----

copy = tar -C src --exclude='*.so' --exclude='*.c' -cf - . | tar -C build/$(1)/src -xf -
define build_copy
	@rm -rf build/$(1) && mkdir -p build/$(1)/src
	@cp -R setup.py pyproject.toml $(wildcard README.md) LICENSE tools build/$(1)/
	@$(call copy,$(1))
	cd build/$(1) && $(2) $(CURDIR)/$(PY) setup.py --quiet build_ext --inplace
	@touch $@
endef

SANITIZE := -fsanitize=address,undefined

build/asan/built$(EXT_SUFFIX): $(CORE_SOURCES) build/settings $(VENV)/.group-build
	$(call build_copy,asan,CC=gcc LDSHARED="gcc -shared" LDFLAGS="$(SANITIZE)" \
	    CFLAGS="-O1 -g -fno-omit-frame-pointer $(SANITIZE) -fno-sanitize-recover=all")

ifeq ($(GLIBC),)
asan fuzz:
	@echo "make $@ needs Linux with glibc: nothing done"
else
asan: $(CORE) build/asan/built$(EXT_SUFFIX) $(VENV)/.group-test
	@$(call copy,asan)
	tools/run_leaks.sh $(PY)
	tools/run_asan.sh $(PY) $(ARGS)

fuzz: $(VENV)/.group-build
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tests/fuzz/run.sh $(FUZZ_SECONDS)
endif

# Faults of our own, which the run must find, are planted in a copy of the sources.
build/planted/built$(EXT_SUFFIX): $(CORE_SOURCES) build/settings $(VENV)/.group-build tests/tls/faults/plants.py
	$(call build_copy,planted,$(CURDIR)/$(PY) $(CURDIR)/tests/tls/faults/plants.py src/web && CFLAGS=-O1)

faults: $(CORE) build/planted/built$(EXT_SUFFIX) $(VENV)/.group-test
	@$(call copy,planted)
	$(PY) -m tests.tls.faults.runner --jobs 8 $(ARGS)
	$(PY) -m tests.tls.faults.runner --planted build/planted/src

build/cov/built$(EXT_SUFFIX): $(CORE_SOURCES) build/settings $(VENV)/.group-build
	$(call build_copy,cov,WEB_CYTHON_TRACE=1 CFLAGS=-O1)

# Run inside the copy: the plug-in looks for sources relative to the working directory.
cov: $(CORE) build/cov/built$(EXT_SUFFIX) $(VENV)/.group-cov
	@$(call copy,cov)
	cd build/cov && PYTHONPATH=$(CURDIR)/build/cov/src:$(CURDIR) $(CURDIR)/$(PY) -m coverage run -m pytest \
	    -c ../../pyproject.toml --rootdir ../.. --benchmark-disable $(ARGS) ../../tests
	cd build/cov && $(CURDIR)/$(PY) -m coverage report

# ---- the site ----

# All of it each time: what a page says of the compiled module is not seen to change.
docs: $(CORE) $(VENV)/.group-docs
	$(PY) -m sphinx -c docs -d build/docs/cache -E -W --keep-going -q . build/docs/html

# ---- TLS, seen from outside ----

# An environment of its own: sslyze is particular about the versions of what it needs.
build/audit/made: pyproject.toml $(READY)
	@echo "installing the tools for tls-audit"
	@rm -rf build/audit && $(PY) -m venv --without-pip build/audit
	@$(PIP) --python build/audit/bin/python install --group audit
	@touch $@

tls-audit: $(CORE) $(VENV)/.group-test build/audit/made
	$(PY) tools/tls_audit.py --sslyze-python build/audit/bin/python $(ARGS)

# ---- distribution ----

wheel: $(VENV)/.group-build $(VENV)/.group-wheel
	tools/make_wheel.sh $(PY) $(ARGS)

cross: $(VENV)/.group-cross
	tools/cross_compile.sh $(PY) src/web/poller.h src/web/conn_helpers.h src/web/file_helpers.h src/web/ws_helpers.h

clean:
	rm -rf build dist src/*.egg-info src/web/*.so src/web/_core.c .pytest_cache .mypy_cache .ruff_cache .benchmarks .coverage
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .deps .dev
