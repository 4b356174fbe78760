"""Settings and fixtures that several test files need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent

# One thread a process, before anything that starts threads is imported: the workers share the cores, and networks this
# small wait longer for a second thread than it saves them. Processes that tests start inherit it.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

# The same examples on every run: a failure repeats, and a passing suite passes again. Slow tests draw afresh.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Finds a file of ``../shared``, facts and data that are too large or not ours to keep in the repository."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / name
        if not path.exists():
            reason = f"{path} is not here"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
