# pykvm: every command that a developer types. `make help` lists them.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3
PYTEST := $(BIN)/python -m pytest

# The unit and contract tiers run side by side; KVM tests share two cores' worth of guests.
JOBS ?= 2

# What `pykvm bench` runs, shipped with the package.
BENCH_GUESTS := exits.elf nic.elf virtio_nic.elf netstream.elf

.DEFAULT_GOAL := help
.PHONY: help run test test-one-cpu build guest linux-guest linux-stock check fmt test-unit test-kvm bench \
	bench-boot newest-qemu readme dsdt sanitize clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## run the demo guest on /dev/kvm
	$(BIN)/pykvm run guest/build/demo.elf

test: build ## run the whole test suite
	$(PYTEST) -n $(JOBS) --dist worksteal tests

build: $(VENV)/.built guest ## make .venv, the C extension and the guests

guest: ## build the guest kit's images
	@tools/require.sh $(PYTHON)
	@$(MAKE) --no-print-directory -C guest
	@mkdir -p pykvm/guests && for image in $(BENCH_GUESTS); do \
		cmp -s guest/build/$$image pykvm/guests/$$image || cp guest/build/$$image pykvm/guests/; done

linux-guest: ## build the tests' Linux kernel into the cache, from Debian's source
	@guest/linux/build.sh

linux-stock: ## fetch Debian's own kernel into the cache, for the tests
	@guest/linux/stock.sh

check: $(VENV)/.built ## read-only: lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/.built ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-unit: $(VENV)/.built $(DSDT) ## the tests that need no KVM, in seconds
	$(PYTEST) -q -n $(JOBS) tests/unit tests/contract

test-kvm: build ## the tests that run guests
	$(PYTEST) -n $(JOBS) -m kvm tests

# What moves frames does it another way where no processor is free for a card's thread.
test-one-cpu: build ## the tests that move frames, with one processor for everything
	@one=$$($(BIN)/python -c 'import os; print(min(os.sched_getaffinity(0)))'); \
	taskset -c $$one $(PYTEST) -m 'tap and not linux' -k 'not million' tests

bench: build ## measure exits, start-up and tracing
	@$(BIN)/python -m compileall -q pykvm
	$(BIN)/pykvm bench exits
	$(BIN)/pykvm bench start
	$(BIN)/pykvm bench trace

# Each kernel that is there: `make linux-guest` and `make linux-stock` put them there.
bench-boot: build ## measure how soon a guest speaks, next to QEMU (minutes)
	@$(BIN)/python -m compileall -q pykvm
	@set --; lean=$$(guest/linux/build.sh --where); stock=$$(guest/linux/stock.sh --where); \
	[ ! -e "$$lean/vmlinux" ] || set -- --kernel "$$lean/vmlinux" --kernel "$$lean/bzImage"; \
	[ ! -e "$$stock" ] || set -- "$$@" --stock "$$stock"; \
	$(BIN)/pykvm bench boot "$$@"

newest-qemu: ## fetch Debian's newest QEMU into the cache, for the benches
	@tools/newest-qemu.sh

readme: build ## run the commands that README.md shows and put their output there
	$(BIN)/python tools/readme.py

dsdt: $(VENV)/.built ## compile the ACPI code anew, with iasl; what comes out is committed
	$(BIN)/python tools/dsdt.py

sanitize: build ## the native code under ASan, UBSan and TSan
	tools/sanitize.sh $(BIN)/python

clean: ## remove everything that was built
	$(MAKE) --no-print-directory -C guest clean
	rm -rf $(VENV) build dist pykvm/guests pykvm/_native*.so *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pyproject.toml decides what is installed, native/ what is compiled.
$(VENV)/.built: pyproject.toml setup.py $(wildcard native/*.c native/*.h native/*.py)
	@tools/require.sh $(PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat -e '.[dev]'
	@$(BIN)/python -m compileall -q pykvm
	@touch $@
