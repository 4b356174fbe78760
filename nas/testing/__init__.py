"""Contract tests for plug-ins: subclass one in a test file, say what to test, and pytest runs every check.

    from nas.testing import SpaceContract

    class TestMySpace(SpaceContract):
        small = {"image_size": 32}

        def make_space(self):
            return nas.load_space("my_package.my_space:my_space")

Each failure says in a line what was wrong and of which network. Nothing here needs more than pytest's collection:
the checks are plain methods, and may be called without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.testing.evaluators import EvaluatorContract as EvaluatorContract
    from nas.testing.executors import ExecutorContract as ExecutorContract
    from nas.testing.hardware import HardwareContract as HardwareContract
    from nas.testing.searchers import SearcherContract as SearcherContract
    from nas.testing.spaces import SpaceContract as SpaceContract

_HOMES = {
    "EvaluatorContract": "nas.testing.evaluators",
    "ExecutorContract": "nas.testing.executors",
    "HardwareContract": "nas.testing.hardware",
    "SearcherContract": "nas.testing.searchers",
    "SpaceContract": "nas.testing.spaces",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
