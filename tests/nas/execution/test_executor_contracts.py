"""Every executor keeps the contract of executors."""

from __future__ import annotations

from nas.execution.executor import Executor
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor
from nas.testing import ExecutorContract


class TestInProcess(ExecutorContract):
    survives_exit = False

    def make_executor(self) -> Executor:
        return InProcessExecutor()


class TestLocalProcesses(ExecutorContract):
    def make_executor(self) -> Executor:
        return LocalProcessExecutor(2)
