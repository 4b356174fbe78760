"""A cache in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.cache import EvaluationCache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EvaluationCache]:
    with EvaluationCache(tmp_path / "cache.db") as opened:
        yield opened
