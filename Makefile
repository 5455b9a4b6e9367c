# Everything there is to do with this project; `make help` lists it.
#
# Cargo is called only through scripts/cargo.sh, which sets what all builds must share, and with one
# profile and one set of features for running, testing and CI, so that RocksDB and the other
# dependencies are compiled once. A set CARGO_TARGET_DIR is respected.

CARGO := scripts/cargo.sh
# Simulator and fail points are part of this one build; release binaries go without them.
FLAGS := --locked --features sim,failpoints
NODES ?= 3
SEED ?= 1
SCENE ?= Everyday

# The rooms without I/O, whose unit tests take seconds.
PURE := types:: raft:: state:: lease:: watch::

.PHONY: help
help: ## Say what there is to do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '  make %-13s %s\n' "$$name" "$$what"; done

.PHONY: run
run: packages cluster ## Build, and start a local cluster of three members in the foreground

.PHONY: cluster
cluster: build ## Start a local cluster of NODES members (3)
	@exec "$$($(CARGO) where)/debug/quorate" cluster --nodes $(NODES)

.PHONY: build
build: packages ## Build target/debug/quorate
	$(CARGO) build $(FLAGS)

.PHONY: release
release: packages ## Build target/release/quorate
	$(CARGO) build --locked --release

.PHONY: test
test: packages-test clients ## Run everything that must pass and is short
	$(CARGO) test $(FLAGS)

.PHONY: long
long: packages-test clients ## Run the tests that take long
	$(CARGO) test $(FLAGS) -- --ignored --test-threads 1

.PHONY: diff
diff: packages-test ## Send 100,000 random requests to Quorate and to etcd, and compare (some minutes)
	$(CARGO) test $(FLAGS) --test diff -- --exact answers_are_those_of_etcd_for_long --ignored --nocapture

.PHONY: sim
sim: packages-test ## Run the simulator with one SEED (1) of a SCENE, with a trace when it fails
	QUORATE_SIM_SEED=$(SEED) QUORATE_SIM_SCENE=$(SCENE) $(CARGO) test $(FLAGS) --test sim -- --exact one_seed --ignored --nocapture

.PHONY: check
check: packages-test ## Check format and lints, and test the rooms without I/O
	$(CARGO) fmt --check
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	$(CARGO) test $(FLAGS) --lib --quiet -- $(PURE)
	$(CARGO) test $(FLAGS) --test tidy --quiet

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt

.PHONY: lint
lint: packages-test ## Check the lints
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings

.PHONY: doc
doc: packages ## Build the documentation of the code, private items too
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc $(FLAGS) \
		--no-deps --lib --document-private-items

.PHONY: deny
deny: ## Check licenses, sources and advisories of the dependencies
	@scripts/deny.sh

.PHONY: bench
bench: release clients ## Measure a local cluster, beside etcd where it can be built
	scripts/bench.sh

.PHONY: bench-storage
bench-storage: release clients ## Measure what a store that has grown old costs, beside etcd (most of an hour)
	scripts/bench-storage.sh

.PHONY: bench-watch
bench-watch: release clients ## Measure what watches cost, beside etcd and a bare broadcast (three quarters of an hour)
	scripts/bench-watch.sh

.PHONY: bench-lease
bench-lease: release clients ## Measure what leases cost, beside etcd (a quarter of an hour)
	scripts/bench-lease.sh

.PHONY: bench-registry
bench-registry: release ## Measure what the registry takes, beside a bare echo (a quarter of an hour)
	scripts/bench-registry.sh

.PHONY: bench-snapshot
bench-snapshot: release clients ## Measure what it costs that a member is sent the whole state, beside etcd (ten minutes)
	scripts/bench-snapshot.sh

.PHONY: bench-failover
bench-failover: release clients ## Measure what clients notice when the leader goes, beside etcd (a dozen minutes)
	scripts/bench-failover.sh

.PHONY: ci
ci: ## Run all that CI runs, with the time each step took
	@+scripts/timed.sh check test doc deny

# The programs in other languages that tests use; without their language they are skipped aloud.
.PHONY: clients
clients:
	@tests/clients/build.sh >/dev/null
	@tests/examples/build.sh >/dev/null

.PHONY: packages
packages:
	@scripts/install-packages.sh

.PHONY: packages-test
packages-test:
	@scripts/install-packages.sh tests
