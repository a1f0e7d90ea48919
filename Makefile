# `make help` lists the targets. Each target sets up what it needs inside this folder.

PYTHON ?= python3
CC ?= cc
CXX ?= c++
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The finished libraries, programs and wheels are always in target/. Cargo's intermediate files are
# there too, unless CARGO_TARGET_DIR or a cargo configuration names another folder.
CARGO_OUT := $(or $(CARGO_TARGET_DIR),target)

SONAME := libipcq.so.$(basename $(VERSION))
SO := target/release/libipcq.so
VENV := .venv
MATURIN = $(VENV)/bin/maturin
MANIFEST = --manifest-path bindings/python/Cargo.toml
ZIG ?= 1
# The two workspaces share deny.toml, so neither uses all of it.
DENY := bans licenses sources -A unmatched-skip-root -A license-exception-not-encountered
RUST := $(shell find src cli/src build.rs cbindgen.toml Cargo.toml Cargo.lock cli/Cargo.toml) \
	scripts/build-library.sh scripts/localise.sh
MODULE := $(shell find bindings/python -name '*.rs' -o -name '*.py' -path '*/python/ipcq/*' \
	-o -name '*.pyi' -o -name '*.toml')
EXAMPLES := $(patsubst c-examples/%.c,target/examples/%,$(wildcard c-examples/*.c)) \
	$(patsubst c-examples/%.cpp,target/examples/%_cpp,$(wildcard c-examples/*.cpp))
CFLAGS ?= -O2 -g
WARNINGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror
# The programs in target/*/ find the library by a relative path, so the checkout may be moved, and
# its path may contain a blank.
LINK := -Iinclude -Ltarget/release -lipcq -Wl,-rpath,'$$ORIGIN/../release'

.PHONY: build header examples demo check test test-rust test-steps test-c test-python test-install \
	test-wheel test-sdist test-fuzz test-budget test-aarch64 features model tsan soak fuzz bench budget \
	lint prose deny docs wheel sdist install stub uninstall clean help tools

build: $(SO)

help:
	@echo "Build"
	@echo "  make            build the C library and the ipcq command in target/release"
	@echo "  make examples   build the C and C++ examples in target/examples"
	@echo "  make install    install headers, libraries and the command (PREFIX, LIBDIR, DESTDIR)"
	@echo "  make uninstall  remove what make install installed"
	@echo "  make wheel      build the Python wheel in target/wheels (ZIG= links it without zig)"
	@echo "  make sdist      build the Python source distribution in target/wheels"
	@echo "  make docs       build the documentation site in target/docs"
	@echo "  make header     generate include/ipcq.h from src/ffi"
	@echo "  make stub       copy the docstrings of the Python module to its stub"
	@echo "  make clean      remove target/ and .venv/"
	@echo "Try"
	@echo "  make demo       send this machine's counters, and a large file, from C to Python"
	@echo "  make bench      compare ipcq with other queues, in target/bench (QUICK=1: short)"
	@echo "Check"
	@echo "  make check      format, lint and test the Rust code: run it before every commit"
	@echo "  make test       run all tests"
	@echo "  make lint       run all formatters and linters, and build the documentation"
	@echo "  make deny       check the licences and sources of all dependencies"
	@echo "  make prose      lint the English of documents, comments and error texts"
	@echo "Check more"
	@echo "  make features      build and test without features, and with each one alone"
	@echo "  make model         explore the models of the protocol in full"
	@echo "  make tsan          run ThreadSanitizer (needs nightly Rust)"
	@echo "  make soak          kill and stop processes for minutes (DURATION=300 seconds)"
	@echo "  make fuzz          fuzz the readers of files for an hour (DURATION=3600 seconds)"
	@echo "  make test-aarch64  build for aarch64 and run the tests under emulation"
	@echo "  make test-sdist    build the source distribution, and install it from scratch"
	@echo "  make budget        count instructions again and write benches/budget.json"

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

target/examples/%_cpp: c-examples/%.cpp include/ipcq.h include/ipcq.hpp $(SO)
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -std=c++17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror $< -o $@ $(LINK)

# --- Python ---------------------------------------------------------------------------------------

$(VENV)/.packages: bindings/python/requirements-dev.txt | tools
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The stamp .x records that the packages of requirements-x.txt are installed. Only some targets
# need them.
$(VENV)/.%: bindings/python/requirements-%.txt $(VENV)/.packages
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The wheel for this machine.
target/module/.built: $(RUST) $(MODULE) $(VENV)/.packages
	rm -rf $(@D)
	$(MATURIN) build --quiet $(MANIFEST) --release --interpreter $(VENV)/bin/python --out $(@D)
	@touch $@

# The same wheel with the hooks that the tests need. The demo uses it, too.
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

# The wheel for distribution. zig links it against glibc 2.17, so that it runs on every current
# distribution. With ZIG= the system's linker links it, and the wheel needs this machine's glibc.
# CPython before 3.14 ends daemon threads with pthread_exit, which unwinds their stacks with glibc's
# unwinder. zig's own unwinder crashes on that, so the wheel uses glibc's.
UNWINDER = -C link-arg=$(shell $(CC) -print-file-name=libgcc_s.so.1)
wheel: $(VENV)/.packages $(if $(ZIG),$(VENV)/.wheel)
	rm -f target/wheels/*.whl
	RUSTFLAGS="$$RUSTFLAGS $(UNWINDER)" PATH="$(abspath $(VENV))/bin:$$PATH" \
		$(MATURIN) build --quiet $(MANIFEST) --release --interpreter $(VENV)/bin/python \
		$(if $(ZIG),--zig --compatibility manylinux2014) --out target/wheels
	scripts/test-wheel.sh $(VENV)/bin/python target/wheels/*.whl
	@ls target/wheels/*.whl

sdist: $(VENV)/.packages
	@mkdir -p target/wheels
	rm -f target/wheels/*.tar.gz
	$(MATURIN) sdist $(MANIFEST) --out target/wheels 2>target/sdist.log || { cat target/sdist.log; exit 1; }
	scripts/check-sdist.sh target/wheels/*.tar.gz
	@ls target/wheels/*.tar.gz

# --- demo and tests -------------------------------------------------------------------------------

demo: examples $(VENV)/.ipcq
	$(VENV)/bin/python scripts/demo.py

# Run this before every commit. It takes about two minutes once the dependencies are built. It needs
# only Rust and a C compiler.
check:
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo test

test: test-rust test-steps test-fuzz test-c test-budget test-install test-wheel \
		test-python
	scripts/model.sh short
	@echo "make test: all passed"

test-rust: $(SO)
	cargo test

# Tests the library without any feature, and with each feature alone.
features:
	scripts/features.sh

test-steps: | tools
	scripts/steps.sh

# Replays what `make fuzz` has kept. This needs no nightly Rust.
test-fuzz: | tools
	cargo test --manifest-path fuzz/Cargo.toml --target-dir "$(CARGO_OUT)/fuzz"

test-c: examples
	CC="$(CC)" CXX="$(CXX)" scripts/test-c.sh

test-install: $(SO)
	CC="$(CC)" CXX="$(CXX)" scripts/test-install.sh

target/pairs/%: tests/c/%.c include/ipcq.h $(SO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $< -o $@ $(LINK)

# Installs the wheel in an empty environment without a compiler, and loads it in every installed
# CPython.
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
	IPCQ_SOAK_SECONDS=$(or $(DURATION),300) cargo test --release --test kill --test stop --test lossless -- --nocapture
	IPCQ_SOAK_SECONDS=$(or $(DURATION),300) scripts/steps.sh --test-threads=2
	IPCQ_WAKES=$(or $(WAKES),10000000) cargo test --release --test wait no_wake_up_is_lost -- --nocapture
	IPCQ_TEST_STEP=1 cargo test --release --test hostile

target/tools/bin/cargo-fuzz: | tools
	cargo install --quiet --locked --version 0.13.2 --root target/tools cargo-fuzz

fuzz: target/tools/bin/cargo-fuzz
	CXX="$(CXX)" scripts/fuzz.sh $(or $(DURATION),3600)

target/bench/budget: benches/budget.c include/ipcq.h $(SO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(WARNINGS) $< -o $@ $(LINK)

# Not a part of `make test`, because it needs more tools. The script names them.
test-aarch64:
	scripts/test-aarch64.sh

# Counts the instructions of each operation and compares them with benches/budget.json.
test-budget: target/bench/budget
	$(PYTHON) benches/budget.py $<

budget: target/bench/budget
	$(PYTHON) benches/budget.py $< --write

# QUICK=1 runs the short form, in under three minutes after the build. ONLY=expression selects
# groups.
bench: $(SO) target/module/.built
	benches/build.sh "$(PYTHON)" "$(CC)"
	$(PYTHON) benches/bench.py $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

# Lints the English of documents, comments and error texts by the rules of scripts/prose/rules.toml.
prose: | tools
	$(PYTHON) scripts/prose/prose.py

# cargo-deny needs Rust 1.88 or later. It takes about four minutes to build, once.
target/tools/bin/cargo-deny: | tools
	cargo install --quiet --locked --version 0.20.2 --root target/tools cargo-deny

# Checks the versions, licences and sources of all dependencies by deny.toml. Only the CI workflow
# checks security advisories, because their database is a Git repository that must be fetched.
deny: target/tools/bin/cargo-deny
	$< --workspace --all-features check $(DENY)
	$< --manifest-path fuzz/Cargo.toml --all-features --config deny.toml check $(DENY)

lint: $(VENV)/.ipcq $(VENV)/.test $(VENV)/.lint docs prose deny
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir "$(CARGO_OUT)/fuzz" --all-targets -- -D warnings
	PYO3_PYTHON=$(abspath $(VENV))/bin/python cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --features steps --lib --test steps -- -D warnings
	cd bindings/python && $(abspath $(VENV))/bin/ruff check .
	$(VENV)/bin/ruff check --config bindings/python/pyproject.toml --ignore D,SIM105 scripts tests/pairs \
		benches .ci
	$(VENV)/bin/ruff format --check --config bindings/python/pyproject.toml bindings/python scripts tests/pairs \
		benches .ci
	cd bindings/python && $(abspath $(VENV))/bin/mypy
	cd bindings/python && $(abspath $(VENV))/bin/python -m mypy.stubtest ipcq \
		--allowlist stubtest-allowlist.txt --ignore-unused-allowlist
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/zizmor --offline --quiet .github
	PATH="$(abspath $(VENV))/bin:$$PATH" basedpyright --project bindings/python
	PATH="$(abspath $(VENV))/bin:$$PATH" basedpyright --verifytypes ipcq --ignoreexternal >target/pyright.log || \
		{ cat target/pyright.log; exit 1; }

# Builds the documentation site in target/docs. A warning, for example about a broken link, is an
# error.
docs: $(VENV)/.ipcq $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# --- installing -----------------------------------------------------------------------------------

# The recipes quote these paths, because any of them may contain a blank.
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
	scripts/localise.sh target/release/libipcq.a # cargo may have built it again since
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
