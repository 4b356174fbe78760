"""The contracts are imported from ``nas.testing``, each when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nas.testing


def test_every_contract_is_there_by_name() -> None:
    assert nas.testing.__all__ == [
        "EvaluatorContract",
        "ExecutorContract",
        "HardwareContract",
        "SearcherContract",
        "SpaceContract",
    ]
    for name in nas.testing.__all__:
        assert getattr(nas.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Contract'"):
        _ = nas.testing.Contract


def test_neither_nas_nor_its_contracts_are_imported_before_they_are_used() -> None:
    script = (
        "import sys, nas; assert 'nas.testing' not in sys.modules\n"
        "import nas.testing; print('LOADED', sorted({'torch', 'numpy', 'search_spaces', 'pytest'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "LOADED []\n"
