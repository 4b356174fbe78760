"""Probe keys are the same in every process, and importing nas does not import the probe."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT

PRINT_KEYS = """
import sys, numpy as np, torch
from torch import nn
torch.set_num_threads(int(sys.argv[1]))
from nas.hashing.probe import probe_callable, probe_module, probe_optimizer
net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=32), nn.Flatten(),
                    nn.Linear(32 * 28 * 28, 10))
print(probe_module(net, [(3, 32, 32)]).text)
print(probe_callable(lambda x: {"b": np.tanh(x), "a": x}).text)
print(probe_optimizer(lambda p: torch.optim.Adam(p)).text)
"""


def test_keys_are_the_same_in_other_processes_with_other_seeds_and_thread_counts() -> None:
    outputs = set()
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PRINT_KEYS, threads]
        process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        outputs.add(process.stdout)
    assert len(outputs) == 1


def test_the_time_of_an_optimizer_is_not_that_of_importing_it() -> None:
    code = """
import sys, torch
from nas.hashing.probe import probe_optimizer
loaded = ["torch._dynamo" in sys.modules]
probe_optimizer(lambda p: loaded.append("torch._dynamo" in sys.modules) or torch.optim.SGD(p))
print(loaded[0], loaded[1])
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.split() == ["False", "True"], process.stdout + process.stderr


def test_importing_nas_does_not_import_the_probe() -> None:
    code = "import sys, nas, nas.hashing; print('nas.hashing.probe' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.strip() == "False", process.stderr
