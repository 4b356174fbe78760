# Two commands: `make search` and `make test`. Python packages are installed into .venv. `make test` as root also installs
# Debian's openssh-server where there is no sshd, for the tests of measuring over SSH, and says so; without it, or as
# another user, those tests are skipped.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEARCH_OPTIONS ?=

.PHONY: search test slow lint docs clean sshd

search: $(VENV)/installed
	$(BIN)/nas search --space mobiledet --hw edgetpu $(SEARCH_OPTIONS)

test: $(VENV)/installed-test sshd lint docs
	$(BIN)/python -m pytest -n auto --dist worksteal

# The tests of measuring over SSH start a server of their own
sshd:
	@command -v sshd >/dev/null || test -x /usr/sbin/sshd || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  echo "no sshd: installing Debian's openssh-server" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y openssh-server >/dev/null; } || \
	  echo "no sshd: the tests that need it will be skipped"

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed-test
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dashboard]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build
