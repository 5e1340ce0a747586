# Everything runs in a virtual environment of its own; only Python 3.11 or later, pip and make are needed.
# `make TARGET PYTHON=python3.13` works in another one, of that version: .venv-3.13.0 or the like.
ifdef PYTHON
VENV = .venv-$(VERSION)
else
PYTHON := $(shell command -v python3.11 || command -v python3)
VENV = .venv
endif
VERSION := $(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null)
BIN := $(VENV)/bin
# With the version in its name: when the default interpreter is another one, .venv is made anew.
READY := $(VENV)/.installed-$(VERSION)

# What differs from one Python to the next: processes, TLS, decoders, asyncio, sqlite3, imports.
PYTHONS ?= python3.12 python3.13
SUBSET := $(addprefix tests/, unit house/test_imports.py promises/test_2_exits.py \
	$(addprefix keeper/test_, $(addsuffix .py, keeper launch namespace pump upgrade users)) \
	$(addprefix plugins/test_, $(addsuffix .py, jwt jwt_forged jwt_keys)) \
	$(addprefix wire/test_, $(addsuffix .py, auth jsonrpc jwt mtls renewal restart run shutdown start)) \
	$(addprefix cli/test_, $(addsuffix .py, cert client_certificate interrupts mcp run untrusted)))

# Otherwise each process that a test starts would compile all its modules anew, and each worker all tests.
unexport PYTHONDONTWRITEBYTECODE

# Tests run in as many processes: most of them wait, so that more than there are cores pay. 0: in one, without xdist.
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest
IN_PARALLEL := -n $(WORKERS) --dist worksteal

.PHONY: help setup demo demo-crash check check-web test test-fast test-python test-pythons test-slow test-vm test-vm-short torture hostile slurm audit bench bench-peers profile docs golden dist sbom deb image screenshots clean

help:
	@echo "make demo       set up, then run a job through an agent of its own"
	@echo "make demo-crash kill agent, pump and keeper under a job, and see that nothing is lost"
	@echo "make check-web  check the types of the page in the browser (node)"
	@echo "make test       set up, check (ruff, mypy) and run the tests in $(WORKERS) processes (WORKERS=0: in one)"
	@echo "make test-fast  the tests without processes and sockets, in seconds"
	@echo "make test-pythons  some of the tests with each other Python that is there ($(PYTHONS))"
	@echo "make test-slow  the long tests"
	@echo "make test-vm    test on Debian with systemd, in a virtual machine (qemu, mmdebstrap, root)"
	@echo "make test-vm-short  the part of it that needs one boot"
	@echo "make torture    kill everything again and again under running jobs, and print what came of it"
	@echo "make hostile    send an agent what nobody should, beside a good user, and print what came of it"
	@echo "make slurm      start a Slurm cluster on this machine, and print what came of jobs, faults and kills (root)"
	@echo "make audit      compare the locked dependencies with the known vulnerabilities (pip-audit)"
	@echo "make bench      print the figures, each beside the limit measured in the same run"
	@echo "make bench-peers  compare with task-spooler, supervisor and circus in one run, those that are there"
	@echo "make profile    print where the time of one job goes, by stages and by processes"
	@echo "make dist       build the wheel and the sdist: the same bytes from the same commit, in whichever folder"
	@echo "make sbom       write what the agent is made of, as CycloneDX JSON"
	@echo "make deb        build the Debian package, for the Debian and the architecture of this host"
	@echo "make image      build the image of a container with the agent (podman, buildah or docker)"
	@echo "make docs       generate the tables of the reference, and render the pages to build/docs"
	@echo "make golden     write what the help and the tables of jw are to be from what they are; read the diff"
	@echo "make screenshots  write what the page is to look like from how it looks; look at each"
	@echo "make clean      remove the virtual environments and the caches"

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jobworker needs Python 3.11 or later: make PYTHON=...")'
	@echo "setting up $(VENV) (once)"
	@test -e $@ || rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	@sh tests/demo.sh $(BIN)

demo-crash: setup
	@sh tests/demo_crash.sh $(BIN)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# TypeScript outside of the package, of which the page needs nothing.
build/check-web/.installed: tests/web/package.json tests/web/package-lock.json
	@mkdir -p build/check-web
	@cp tests/web/package.json tests/web/package-lock.json build/check-web
	@cd build/check-web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

check-web:
	@if ! command -v npm >/dev/null; then echo "check-web: node and npm are not there: skipped"; \
	else $(MAKE) --no-print-directory build/check-web/.installed && \
	for project in tsconfig.json tsconfig.node.json; do build/check-web/node_modules/.bin/tsc -p tests/web/$$project || exit; done; fi

test: check
	$(PYTEST) $(IN_PARALLEL) -m "not slow and not vm"

test-fast: setup
	$(PYTEST) tests/unit

test-python: setup
	$(PYTEST) $(IN_PARALLEL) -m "not slow and not vm" $(SUBSET)

test-pythons:
	@for python in $(PYTHONS); do \
		if $$python -c '' 2>/dev/null; then $(MAKE) --no-print-directory test-python PYTHON=$$python || exit; \
		else echo "test-pythons: $$python is not there, or does not run: its tests are skipped"; fi; \
	done

# One after the other: some fork as fast as they can, some make whoever reads /proc of a process hang.
test-slow: setup
	$(PYTEST) -m "slow and not vm"

test-vm: setup
	$(PYTEST) -m vm -o faulthandler_timeout=7200 tests/vm

test-vm-short: setup
	$(PYTEST) -m "vm and not slow" -o faulthandler_timeout=900 tests/vm

torture: setup
	$(BIN)/python tests/torture/run.py

hostile: setup
	$(BIN)/python tests/hostile/run.py

slurm: setup
	$(BIN)/python -m tests.slurm.run

# In an environment of its own: what it needs is no dependency of the project.
audit: setup
	@$(BIN)/python -m venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7,<3' || true
	$(BIN)/python tests/audit.py $(VENV)-audit/bin/python

bench: setup
	$(BIN)/python tests/benchmarks/run.py

profile: setup
	$(BIN)/python tests/benchmarks/run.py timeline budget

# In an environment of its own: they are here to be compared with only.
build/peers/.installed:
	@$(PYTHON) -m venv build/peers
	@build/peers/bin/python -m pip install --quiet --disable-pip-version-check setuptools supervisor==4.2.5 circus==0.18.0
	@touch $@

bench-peers: setup build/peers/.installed
	$(BIN)/python tests/benchmarks/peers/run.py

# In an environment of its own: the tests need none of it.
.venv-docs/.installed: pyproject.toml
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check '.[docs]'
	@touch $@

docs: setup .venv-docs/.installed
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

golden: setup
	GOLDEN=write $(PYTEST) -q tests/cli/test_golden.py

# The time of everything that is packed: of the last commit, or of the files of an sdist.
dist sbom deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)
DIST_TOOLS ?= build/dist-tools

# In an environment of its own, with pinned versions: another version could write other bytes.
$(DIST_TOOLS)/.installed: packaging/requirements-build.txt
	@$(PYTHON) -m venv $(DIST_TOOLS)
	@$(DIST_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

dist: $(DIST_TOOLS)/.installed
	@rm -rf dist/jobworker-*.whl dist/jobworker-*.tar.gz
	@$(DIST_TOOLS)/bin/python -m hatchling build -t sdist -t wheel -d dist
	@ls dist/jobworker-*

sbom: setup
	@mkdir -p dist
	@$(BIN)/python packaging/tools/sbom.py >dist/jobworker.cdx.json
	@ls dist/jobworker.cdx.json

ENGINE ?= $(shell command -v podman || command -v buildah || command -v docker)
image: dist
	@test -n "$(ENGINE)" || { echo "make image needs podman, buildah or docker"; exit 1; }
	$(ENGINE) build -f packaging/container/Containerfile -t jobworker $(IMAGE_OPTIONS) .

# With Debian's own Python, which is the one that runs the agent there.
DEB_PYTHON ?= /usr/bin/python3
build/deb/tools/.installed: packaging/requirements-build.txt
	@$(DEB_PYTHON) -m venv build/deb/tools
	@build/deb/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# What comes as an sdist only is built by the tools of above, with their hashes, not by the newest ones.
build/deb/wheels/.built: packaging/requirements.txt build/deb/tools/.installed
	@rm -rf build/deb/wheels
	@build/deb/tools/bin/python -m pip wheel --quiet --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: --no-binary jsonrpcserver,oslash --no-build-isolation --wheel-dir build/deb/wheels -r $<
	@touch $@

deb: dist sbom build/deb/wheels/.built
	@rm -f dist/jobworker_*.deb
	@mkdir -p build/deb/docs
	@$(BIN)/python packaging/tools/man_page.py >build/deb/docs/jw.1
	@$(BIN)/python packaging/tools/unit.py >build/deb/docs/jobworker.service
	@cp dist/jobworker.cdx.json build/deb/docs
	@$(DEB_PYTHON) packaging/tools/deb.py dist/jobworker-*.whl build/deb/wheels build/deb/docs

screenshots: setup
	SCREENSHOTS=write $(PYTEST) -q tests/web/test_screenshots.py -k looks

clean:
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache build dist
