# Every target works from a fresh checkout: the environment .venv is made, and made anew, as needed.
# PYTHON=... chooses the Python to make it from, ARGS=... is handed to pytest.

VENV := .venv
RUN := $(VENV)/bin/python
MINIMUM := 3.11
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
SUPPORTED := 3.11 3.12 3.13 3.14

# Nothing of the caller's own Python environment may leak into ours.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

# All installations go into one environment, so that they cannot run side by side.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test test-pythons check docs simulate soak fuzz bench bench-check bench-record bench-cluster proto dist check-dist clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s  %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed-cli ## watch a leadership move from one replica to the next
	@$(RUN) -m atomix_election demo

demo-cluster: $(VENV)/installed-test ## the same with two servers on three members of etcd, which are killed too
	@$(RUN) -m atomix_election demo --cluster

test: $(VENV)/installed-test ## run the tests
	@PYTHONHASHSEED=0 $(RUN) -m pytest -n 2 --dist loadgroup $(ARGS)

# Looked for on PATH, where pyenv may have put what runs nothing, and among what pyenv has installed.
test-pythons: ## run the tests on each Python from 3.11 to 3.14 that is here, in environments .venv-3.11 and so on
	@passed=; failed=; absent=; \
	for version in $(SUPPORTED); do \
	  found=; \
	  for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version*/bin/python$$version; do \
	    found=$$("$$python" -c 'import sys, venv, ensurepip; print(sys.executable)' 2>/dev/null) && break; \
	  done; \
	  test -n "$$found" || { echo "Python $$version: not found, left out"; absent="$$absent $$version"; continue; }; \
	  echo "Python $$version: $$found"; \
	  if $(MAKE) --no-print-directory VENV=$(VENV)-$$version PYTHON="$$found" test; \
	    then passed="$$passed $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "tests passed on:$${passed:- none}; failed on:$${failed:- none}; not found:$${absent:- none}"; \
	test -n "$$passed" && test -z "$$failed"

check: $(VENV)/installed-check ## lint, formatting, types, layers
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(RUN) -m pyright
	$(VENV)/bin/lint-imports --no-logo --no-cache

docs: $(VENV)/installed-docs ## build the site of the documentation, build/site, and see that no link leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "the site begins at build/site/index.html"

simulate: $(VENV)/installed-test ## search for interleavings that break a rule; SEED=n replays, MINUTES=m searches, STORE=s: on one store
	@$(RUN) -m atomix_election.testing.search $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(STORE),--store $(STORE))

soak: $(VENV)/installed-test ## break servers and clients under load for MINUTES=m, and check what clients were told; STORE=sqlite: one store
	@$(RUN) -m tests.soak $(if $(STORE),--store $(STORE)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(VENV)/installed-test ## send garbage to a server for MINUTES=m, beside a client that must not notice; SEED=n replays
	@$(RUN) -m tests.fuzz.run $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

bench: $(VENV)/installed-bench ## measure everything, and bring docs/performance.md up to date; takes 20 minutes
	@$(RUN) -m benchmarks $(ARGS)
	@$(RUN) -m benchmarks.render

bench-check: $(VENV)/installed-test ## see that nothing has become slower than recorded; takes four minutes
	@$(RUN) -m benchmarks.check $(ARGS)

bench-record: $(VENV)/installed-test ## record what bench-check compares with; takes twelve minutes
	@$(RUN) -m benchmarks.check --record

bench-cluster: $(VENV)/installed-test ## measure servers on etcd: load, memory, takeovers; takes six minutes
	@$(RUN) -m benchmarks.cluster $(ARGS)

proto: $(VENV)/installed-test ## regenerate the message classes from proto/
	$(RUN) proto/generate.py

dist: $(VENV)/installed-check ## build the sdist, and the wheel from it, into dist/
	@rm -rf dist
	@$(RUN) -m build --no-isolation --outdir dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }

check-dist: dist ## install what was built into empty environments, and use it as the README says
	@$(RUN) -m pytest -q tests/packaging/distributions.py

clean: ## remove the environments and everything that tools left behind
	rm -rf $(VENV) $(VENV)-3.* build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps. Each is written when its installation has ended well and holds the checkout's path: a copied
# environment, one whose Python is gone, and one where an installation broke off are made anew.
INTACT := $(shell $(RUN) -I -c '' 2>/dev/null && test ! -e $(VENV)/unfinished && cat $(VENV)/created)
ifneq ($(INTACT),$(CURDIR))
.PHONY: $(VENV)/created
endif

define install
	@echo "installing $(1) into $(VENV)"
	@touch $(VENV)/unfinished
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable '$(1)'
	@rm $(VENV)/unfinished
endef

$(VENV)/installed-cli: $(VENV)/created pyproject.toml
	$(call install,.[cli])
	@touch $@

$(VENV)/installed-test: $(VENV)/created pyproject.toml
	$(call install,.[test])
	@touch $(VENV)/installed-cli $@

$(VENV)/installed-bench: $(VENV)/created pyproject.toml
	$(call install,.[bench])
	@touch $(VENV)/installed-cli $(VENV)/installed-test $@

$(VENV)/installed-docs: $(VENV)/created pyproject.toml
	$(call install,.[docs])
	@touch $@

$(VENV)/installed-check: $(VENV)/created pyproject.toml
	$(call install,.[check])
	@touch $(VENV)/installed-cli $(VENV)/installed-test $(VENV)/installed-bench $(VENV)/installed-docs $@

# The first suitable Python makes the environment; without one, say what was seen.
$(VENV)/created:
	@seen=; \
	for python in $(if $(PYTHON),'$(PYTHON)',$(CANDIDATES)); do \
	  version=$$("$$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) \
	    || { seen="$$seen\n  $$python: not found, or does not run"; continue; }; \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(MINIMUM)".split("."))))' \
	    || { seen="$$seen\n  $$python: is Python $$version"; continue; }; \
	  "$$python" -c 'import venv, ensurepip' 2>/dev/null \
	    || { seen="$$seen\n  $$python: is Python $$version, but lacks the venv module (Debian: python3-venv)"; continue; }; \
	  echo "making $(VENV) with $$python, Python $$version"; \
	  rm -rf $(VENV) && "$$python" -m venv $(VENV) && echo '$(CURDIR)' > $@ && exit 0 || exit 1; \
	done; \
	printf '%b\n' "Python $(MINIMUM) or newer with the venv module is needed. Seen:$$seen" \
	  "Choose one with: make PYTHON=/path/to/python3" >&2; \
	exit 1
