"""The command line, run in this process."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from nas.cli.main import main


@dataclass(frozen=True)
class CommandResult:
    """One command's exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_command(*arguments: str) -> CommandResult:
    """Run ``nas`` with these arguments in the current folder."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    return CommandResult(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
