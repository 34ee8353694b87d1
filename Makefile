# SPDX-License-Identifier: LGPL-2.1-or-later
# A thin front over the CMake presets. `make demo` and `make check` each do all they need, on a fresh Debian 12 too.
PREFIX ?= /usr/local
DEMO_ARGS ?=
TORTURE_SECONDS ?= 600
TORTURE_MODEL_SEEDS ?= 10000000
MODEL_SEEDS ?= 100000
MODEL_ARGS ?=
JOBS ?= $(shell nproc)
PORT ?= 8080
SERVER_ARGS ?=

.PHONY: demo check server server-bench server-ready bench policy torture model release debug tsan asan canaries fuzz tsan-lanes coverage spin aarch64 install clean format-check deps help scaling deb abi
.NOTPARALLEL:

help:
	@echo "make demo          an open-file cache over this machine's own files, with its promises proved at the end"
	@echo "make check         everything quick: tests plain and under the sanitizers, lint, installation, canaries"
	@echo "make server        the example server (docs/examples/server): PORT=$(PORT), Ctrl-C ends it; its page shows the caches live"
	@echo "make server-bench  the same server with a mutex and a hash table beside it, under wrk: build/server-bench.json"
	@echo "make torture       the whole cache under load for TORTURE_SECONDS, in the tsan build too; then the model with"
	@echo "                   TORTURE_MODEL_SEEDS=$(TORTURE_MODEL_SEEDS) per scenario and depth, which takes days"
	@echo "make model         the sources under a deterministic scheduler: MODEL_SEEDS=$(MODEL_SEEDS) per scenario and depth"
	@echo "make bench         measurements, peers beside us, which it installs: build/bench.json (docs/bench.md)"
	@echo "make scaling       shared cache lines of each operation, counted, and a model of up to 128 cores (docs/scaling.md)"
	@echo "make policy        hit ratios on the traces of TRACES=DIR, and a page with the curves: build/policy.html"
	@echo "make debug|asan|tsan|release     one build with its tests"
	@echo "make spin          models of the protocols, searched exhaustively, in all their sizes"
	@echo "make aarch64       cross compiled: unit tests and a short torture under qemu-user, and a look at the code"
	@echo "make canaries      faults put in on purpose, and which lanes catch them: writes docs/canaries.md"
	@echo "make tsan-lanes    the storm and the unit tests under ThreadSanitizer by clang 14, clang 19 and gcc, 20 seeds each"
	@echo "make fuzz          libFuzzer on tables, caches and parsers, FUZZ_SECONDS each"
	@echo "make coverage      what the tests run of lib/, by file (docs/coverage.md)"
	@echo "make deb           Debian packages in build/packages: libhapax0, libhapax-dev, hapax-tools"
	@echo "make abi BASE=TAG  the binary interface beside that of a tag, a commit or a library (docs/releasing.md)"
	@echo "make install       PREFIX=$(PREFIX), DESTDIR honoured"

deps:
	@scripts/install-deps.sh

demo: deps
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress
	build/release/bin/hapax-stress files $(DEMO_ARGS)

bench: deps
	@scripts/install-bench-deps.sh
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress
	@cmake --build build/release -j $(JOBS) --target hapax-peers -- -k 0 || echo "a peer was not built and will be absent"
	build/release/bin/hapax-stress bench --json build/bench.json --html build/bench.html $(BENCH_ARGS)

server-ready: deps
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-server mutex-server
	@[ -f build/server.db ] || { echo "making build/server.db"; build/release/bin/hapax-server --make-db --db build/server.db; }

server: server-ready
	@exec build/release/bin/hapax-server --db build/server.db --files docs --port $(PORT) $(SERVER_ARGS)

server-bench: server-ready
	@scripts/install-deps.sh wrk
	docs/examples/server/bench/bench.py --bin build/release/bin --db build/server.db --json build/server-bench.json $(BENCH_ARGS)

scaling: deps
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress hapax-lines
	build/release/bin/hapax-lines --check --json build/lines.json
	build/release/bin/hapax-stress bench --workload limit,w1,w2,w3,w4,w10 --threads 1,2 --json build/costs.json $(BENCH_ARGS) >/dev/null || [ $$? -eq 1 ]
	scripts/scaling.py --lines build/lines.json --bench build/costs.json --svg build/scaling.svg

policy: deps
	@[ -n "$(TRACES)" ] || { echo "make policy TRACES=DIR"; exit 2; }
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress
	build/release/bin/hapax-stress policy $(TRACES) --html build/policy.html $(POLICY_ARGS)

model: deps
	@cmake --preset release >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress
	build/release/bin/hapax-stress model --seeds $(MODEL_SEEDS) --seconds 60 $(MODEL_ARGS)

torture: deps
	@cmake --preset release >/dev/null
	@cmake --preset tsan >/dev/null
	@cmake --build build/release -j $(JOBS) --target hapax-stress
	@cmake --build build/tsan -j $(JOBS) --target hapax-torture
	build/release/bin/hapax-stress torture --with fork,signals --seconds 60 --full
	build/release/bin/hapax-stress torture --with short-threads,signals --seconds 60 --full
	build/release/bin/hapax-stress torture --seconds $(TORTURE_SECONDS)
	build/tsan/bin/hapax-torture --seconds $(TORTURE_SECONDS)
	build/release/bin/hapax-stress model --scenario scenarios --mode pct --seeds $(TORTURE_MODEL_SEEDS)

check: deps
	@JOBS=$(JOBS) scripts/check.sh release asan tsan

release debug asan tsan: deps
	@JOBS=$(JOBS) scripts/check.sh $@

tsan-lanes: deps
	@JOBS=$(JOBS) scripts/tsan-lanes.sh -u

spin: deps
	@stress/spin/run.py --full --work build/spin

aarch64: deps
	@JOBS=$(JOBS) scripts/aarch64.sh

canaries: deps
	@JOBS=$(JOBS) stress/broken/run.py

fuzz: deps
	@JOBS=$(JOBS) FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) scripts/fuzz.sh

coverage: deps
	@scripts/install-deps.sh llvm-19
	@JOBS=$(JOBS) scripts/coverage.sh $(COVERAGE_ARGS)

# What is installed, and nothing else: a minute instead of many.
install:
	@scripts/install-deps.sh --library
	@cmake --preset release -B build/install -DHAPAX_TESTS=OFF -DHAPAX_STRESS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build build/install -j $(JOBS)
	cmake --install build/install --prefix $(PREFIX)

deb: deps
	@scripts/install-deps.sh lintian
	@JOBS=$(JOBS) scripts/deb.sh build/packages

abi: deps
	@[ -n "$(BASE)" ] || { echo "make abi BASE=tag, commit or libhapax.so"; exit 2; }
	@scripts/abi_check.py "$(BASE)" "$(or $(NEW),.)"

format-check:
	@scripts/format-check.sh

clean:
	rm -rf build
