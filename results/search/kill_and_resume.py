"""`nas search` killed with SIGKILL at random moments and started again.

    python results/search/kill_and_resume.py [KILLS]

After every kill the study is read: no candidate that was in it may be missing, none may be in it twice, and no worker
process may live on. At the end the candidates must be those of a run that was never killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nas.study.load import load_candidates
from search_spaces.registry import UnknownName

SETTINGS = {"steps": 12, "max_train_images": 160, "max_val_images": 32}
COMMAND = [sys.executable, "-m", "nas", "search", "--space", "mobiledet", "--hw", "edgetpu", "--trials", "400"]
COMMAND += ["--train", "16", "--json", *[f"--training={name}={value}" for name, value in SETTINGS.items()]]


def documents(folder: Path) -> list[dict[str, Any]]:
    journals = list(folder.glob("*/study.journal"))
    if not journals:
        return []
    try:
        candidates = load_candidates(journals[0], None)[1]
    except UnknownName:  # killed before the study had its settings
        return []
    keys = [(c.key, c.reference) for c in candidates]
    assert len(keys) == len(set(keys)), "a candidate is in the study twice"
    return sorted((c.to_document() for c in candidates), key=lambda d: (d["reference"], d["number"]))


def workers() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "loky" in line and "popen_loky" in line]


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch, "whole"), Path(scratch, "killed")
        started = time.monotonic()
        subprocess.run([*COMMAND, "--directory", whole], check=True, capture_output=True)
        length = time.monotonic() - started
        seen: dict[tuple[str, str], str] = {}
        for number in range(kills):
            process = subprocess.Popen([*COMMAND, "--directory", killed], stdout=-3, stderr=-3)
            moment = rng.uniform(3.0, 14.0)  # a few trainings each, so that all kills fall before the end
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            ended = process.wait()
            time.sleep(2)
            assert not workers(), "a worker lives on"
            now = {(d["key"], d["reference"]): json.dumps(d, sort_keys=True) for d in documents(killed)}
            assert all(now.get(key) == text for key, text in seen.items()), "a finished candidate was lost or changed"
            trained = sum('"status": "trained"' in text for text in now.values())
            print(f"kill {number} after {moment:4.1f} s (exit {ended}): {len(now)} candidates, {trained} trained")
            seen = now
        subprocess.run([*COMMAND, "--directory", killed], check=True, capture_output=True)
        same = documents(whole) == documents(killed)
        print(f"unbroken run {length:.0f} s; after {kills} kills the same candidates and figures: {same}")
        assert same
        assert os.path.isdir(killed)


if __name__ == "__main__":
    main()
