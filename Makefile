# `make demo` runs the main job, `make test` passes the tests; each sets up what it needs inside
# this folder. `make help` lists the rest.

PYTHON ?= python3
CC ?= cc
CXX ?= c++
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Everything is built in target/, also for one who keeps cargo's output elsewhere.
export CARGO_TARGET_DIR := $(CURDIR)/target

SONAME := libipcq.so.$(basename $(VERSION))
SO := target/release/libipcq.so
VENV := .venv
MATURIN = $(VENV)/bin/maturin
MANIFEST = --manifest-path bindings/python/Cargo.toml
ZIG ?= 1
RUST := $(shell find src cli/src build.rs cbindgen.toml Cargo.toml Cargo.lock cli/Cargo.toml) \
	scripts/build-library.sh scripts/localise.sh
MODULE := $(shell find bindings/python -name '*.rs' -o -name '*.py' -path '*/python/ipcq/*' \
	-o -name '*.pyi' -o -name '*.toml')
EXAMPLES := $(patsubst c-examples/%,target/examples/%,$(basename $(wildcard c-examples/*.c c-examples/*.cpp)))
CFLAGS ?= -O2 -g
WARNINGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror
# The programs in target/*/ find the library where it lies, also in a folder with a blank in its name.
LINK := -Iinclude -Ltarget/release -lipcq -Wl,-rpath,'$$ORIGIN/../release'

.PHONY: build header examples demo test test-rust test-steps test-c test-python test-install \
	test-wheel test-sdist test-fuzz test-budget test-aarch64 model tsan soak fuzz bench budget lint docs wheel sdist install \
	stub uninstall clean help tools

build: $(SO)

help:
	@echo "make            the C library and the ipcq command, in target/release"
	@echo "make demo       C feeds Python, with this machine's counters and with a large file"
	@echo "make test       all tests (some minutes)"
	@echo "make examples   the C examples, in target/examples"
	@echo "make install    headers, libraries, pkg-config and CMake files, command: PREFIX, LIBDIR, DESTDIR"
	@echo "make wheel      the Python wheel for every Linux of this architecture, in target/wheels"
	@echo "make sdist      the Python source distribution, in target/wheels"
	@echo "make test-sdist builds and installs it from scratch"
	@echo "make bench      ipcq and its peers, in target/bench (QUICK=1: the short form)"
	@echo "make budget     benches/budget.json, anew from counted instructions"
	@echo "make lint       formatters and linters, and the pages"
	@echo "make docs       the pages of docs/ and the Python API, in target/docs"
	@echo "make header     include/ipcq.h, anew from src/ffi"
	@echo "make stub       the docstrings of _ipcq.pyi, copied from the module"
	@echo "make model      the models of the protocol, in full"
	@echo "make tsan       ThreadSanitizer over producer and consumers in threads (nightly Rust)"
	@echo "make soak       kills and stops producers and consumers for minutes (SECONDS=300)"
	@echo "make fuzz       hostile files, guided by coverage, for an hour (SECONDS=3600)"
	@echo "make test-aarch64  builds for aarch64 and runs the tests under emulation"
	@echo "make clean      removes what was built"

tools:
	@sh scripts/check-tools.sh "$(PYTHON)" "$(CC)"

$(SO): $(RUST) | tools
	scripts/build-library.sh
	@ln -sf libipcq.so target/release/$(SONAME)
	@touch $@

header: | tools
	IPCQ_UPDATE_HEADER=1 cargo test --quiet --test header the_header_is_the_generated_one

examples: $(EXAMPLES)

target/examples/%: c-examples/%.c include/ipcq.h $(SO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $< -o $@ $(LINK)

target/examples/%: c-examples/%.cpp include/ipcq.h include/ipcq.hpp $(SO)
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -std=c++17 -Wall -Wextra -Wpedantic -Werror $< -o $@ $(LINK)

# --- Python ---------------------------------------------------------------------------------------

$(VENV)/.packages: bindings/python/requirements-dev.txt | tools
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What only some targets need: the stamp .x stands for requirements-x.txt.
$(VENV)/.%: bindings/python/requirements-%.txt $(VENV)/.packages
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The wheel for this machine.
target/module/.built: $(RUST) $(MODULE) $(VENV)/.packages
	rm -rf $(@D)
	$(MATURIN) build --quiet $(MANIFEST) --release --interpreter $(VENV)/bin/python --out $(@D)
	@touch $@

# The same with the hooks that the tests need.
target/test-module/.built: $(RUST) $(MODULE) $(VENV)/.packages
	rm -rf $(@D)
	$(MATURIN) build --quiet $(MANIFEST) --release --features _test --interpreter $(VENV)/bin/python --out $(@D)
	@touch $@

$(VENV)/.ipcq: target/test-module/.built
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/test-module/*.whl
	@touch $@

# The docstrings of the stub, from the module.
stub: $(VENV)/.ipcq
	$(VENV)/bin/python scripts/stub.py

# To hand out: linked by zig against glibc 2.17, so that it runs on every distribution in use. Where there is no
# zig, ZIG= links by the system's linker, and the wheel wants the glibc of this machine.
wheel: $(VENV)/.packages $(if $(ZIG),$(VENV)/.wheel)
	rm -f target/wheels/*.whl
	PATH="$(abspath $(VENV))/bin:$$PATH" $(MATURIN) build --quiet $(MANIFEST) --release --interpreter $(VENV)/bin/python \
		$(if $(ZIG),--zig --compatibility manylinux2014) --out target/wheels
	scripts/test-wheel.sh $(VENV)/bin/python target/wheels/*.whl
	@ls target/wheels/*.whl

sdist: $(VENV)/.packages
	@mkdir -p target/wheels
	rm -f target/wheels/*.tar.gz
	$(MATURIN) sdist $(MANIFEST) --out target/wheels 2>target/sdist.log || { cat target/sdist.log; exit 1; }
	scripts/check-sdist.sh target/wheels/*.tar.gz
	@ls target/wheels/*.tar.gz

# --- the main job and the tests -------------------------------------------------------------------

demo: examples $(VENV)/.ipcq
	$(VENV)/bin/python scripts/demo.py

test: test-rust test-steps test-fuzz test-c test-budget test-install test-wheel \
		test-python
	scripts/model.sh short
	@echo "make test: all passed"

test-rust: $(SO)
	cargo test

test-steps: | tools
	scripts/steps.sh

# What `make fuzz` kept, once more; stable Rust will do.
test-fuzz: | tools
	cargo test --manifest-path fuzz/Cargo.toml --target-dir target/fuzz

test-c: examples
	CC="$(CC)" CXX="$(CXX)" scripts/test-c.sh

test-install: $(SO)
	CC="$(CC)" CXX="$(CXX)" scripts/test-install.sh

target/pairs/%: tests/c/%.c include/ipcq.h $(SO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $< -o $@ $(LINK)

# Into an empty environment without a compiler, and in every CPython that is installed.
test-wheel: target/module/.built sdist
	scripts/test-wheel.sh $(VENV)/bin/python target/module/*.whl
	scripts/test-versions.sh target/module/*.whl

test-sdist: sdist
	scripts/test-wheel.sh $(VENV)/bin/python target/wheels/*.tar.gz

test-python: examples target/pairs/peer target/pairs/test_records $(VENV)/.ipcq $(VENV)/.test
	$(VENV)/bin/python -m pytest bindings/python/tests tests/pairs

model: | tools
	scripts/model.sh full

tsan: | tools
	scripts/tsan.sh

soak: | tools
	IPCQ_SOAK_SECONDS=$(or $(SECONDS),300) cargo test --release --test kill --test stop --test lossless -- --nocapture
	IPCQ_SOAK_SECONDS=$(or $(SECONDS),300) scripts/steps.sh --test-threads=2
	IPCQ_WAKES=$(or $(WAKES),10000000) cargo test --release --test wait no_wake_up_is_lost -- --nocapture
	IPCQ_TEST_STEP=1 cargo test --release --test hostile

target/tools/bin/cargo-fuzz: | tools
	cargo install --quiet --locked --version 0.13.2 --root target/tools cargo-fuzz

fuzz: target/tools/bin/cargo-fuzz
	CXX="$(CXX)" scripts/fuzz.sh $(or $(SECONDS),3600)

target/bench/budget: benches/budget.c include/ipcq.h $(SO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $< -o $@ $(LINK)

# Neither a part of `make test`, nor without tools of its own: the script says which.
test-aarch64:
	scripts/test-aarch64.sh

# The instructions of each operation, against benches/budget.json.
test-budget: target/bench/budget
	$(PYTHON) benches/budget.py $<

budget: target/bench/budget
	$(PYTHON) benches/budget.py $< --write

# QUICK=1: the short form, under three minutes after the build. ONLY=expression: some of the groups.
bench: $(SO) target/module/.built
	benches/build.sh "$(PYTHON)" "$(CC)"
	$(PYTHON) benches/bench.py $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

lint: $(VENV)/.ipcq $(VENV)/.test $(VENV)/.lint docs
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --all-targets -- -D warnings
	PYO3_PYTHON=$(abspath $(VENV))/bin/python cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --features steps --lib --test steps -- -D warnings
	cd bindings/python && $(abspath $(VENV))/bin/ruff check .
	$(VENV)/bin/ruff check --config bindings/python/pyproject.toml --ignore D,SIM105 c-examples scripts tests/pairs \
		benches
	$(VENV)/bin/ruff format --check --config bindings/python/pyproject.toml bindings/python c-examples scripts tests/pairs \
		benches
	cd bindings/python && $(abspath $(VENV))/bin/mypy
	cd bindings/python && $(abspath $(VENV))/bin/python -m mypy.stubtest ipcq \
		--allowlist stubtest-allowlist.txt --ignore-unused-allowlist
	PATH="$(abspath $(VENV))/bin:$$PATH" basedpyright --project bindings/python
	PATH="$(abspath $(VENV))/bin:$$PATH" basedpyright --verifytypes ipcq --ignoreexternal >target/pyright.log || \
		{ cat target/pyright.log; exit 1; }

# The pages of docs/, in target/docs. A warning is an error: a link that leads nowhere, a name that is not there.
docs: $(VENV)/.ipcq $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# --- installing -----------------------------------------------------------------------------------

# In quotes in the recipes: a blank may be in any of them.
CMAKEDIR := $(LIBDIR)/cmake/ipcq
fill = sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@SONAME@|$(SONAME)|' $(1) >"$(2)" && \
	chmod 644 "$(2)"

install: $(SO)
	$(INSTALL) -d "$(DESTDIR)$(PREFIX)/include" "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(LIBDIR)/pkgconfig" \
		"$(DESTDIR)$(CMAKEDIR)"
	$(INSTALL) -m 644 include/ipcq.h include/ipcq.hpp "$(DESTDIR)$(PREFIX)/include"
	$(INSTALL) -m 755 $(SO) "$(DESTDIR)$(LIBDIR)/libipcq.so.$(VERSION)"
	ln -sf libipcq.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libipcq.so"
	scripts/localise.sh target/release/libipcq.a # a later cargo may have made it anew
	$(INSTALL) -m 644 target/release/libipcq.a "$(DESTDIR)$(LIBDIR)"
	$(INSTALL) -m 755 target/release/ipcq "$(DESTDIR)$(PREFIX)/bin"
	$(call fill,scripts/ipcq.pc.in,$(DESTDIR)$(LIBDIR)/pkgconfig/ipcq.pc)
	$(call fill,scripts/ipcqConfig.cmake.in,$(DESTDIR)$(CMAKEDIR)/ipcqConfig.cmake)
	$(call fill,scripts/ipcqConfigVersion.cmake.in,$(DESTDIR)$(CMAKEDIR)/ipcqConfigVersion.cmake)

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/include/ipcq.h" "$(DESTDIR)$(PREFIX)/include/ipcq.hpp" \
		"$(DESTDIR)$(LIBDIR)/libipcq.so.$(VERSION)" "$(DESTDIR)$(LIBDIR)/$(SONAME)" \
		"$(DESTDIR)$(LIBDIR)/libipcq.so" "$(DESTDIR)$(LIBDIR)/libipcq.a" \
		"$(DESTDIR)$(PREFIX)/bin/ipcq" "$(DESTDIR)$(LIBDIR)/pkgconfig/ipcq.pc"
	rm -f "$(DESTDIR)$(CMAKEDIR)/ipcqConfig.cmake" "$(DESTDIR)$(CMAKEDIR)/ipcqConfigVersion.cmake"
	rmdir "$(DESTDIR)$(CMAKEDIR)" 2>/dev/null || true

clean:
	rm -rf target $(VENV)
