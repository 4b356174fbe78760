"""Workers on one evaluation cache, killed and restarted.

`python results/caching/cache_kill_and_restart.py [KILLS] [WORKERS]`. Workers evaluate the same networks through one
cache until each has M observations, and are killed with SIGKILL at random moments and replaced. Keys collide on
purpose, two networks each, and every worker gives a network's form in another order, so that stored forms must be
compared. A worker writes a line when a training ends, just before it returns the result, and a line for each
observation that the cache returned. At the end the cache must hold exactly M observations a network, each of them one
that was trained for that network, and all that it ever returned, unchanged.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nas.cache import CacheKey, EvaluationCache

KEY = CacheKey("sleep@1", "none", {"steps": 1}, "ordinal")


@dataclass(frozen=True)
class Figures:
    """Counts of a run. ``broken`` trainings were in progress when their worker was killed."""

    networks: int
    most: int
    kills: int
    broken: int
    trained: int
    recorded: int
    returned: int
    seconds: float


def _line(path: Path, *words: object) -> None:
    """Append a line in one write: whole or not there, whenever the process dies."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def same(stored: str, mine: str) -> bool:
    """Forms are a network's number and letters in any order."""
    return stored.split()[0] == mine.split()[0] and sorted(stored) == sorted(mine)


def work(folder: Path, networks: int, most: int, hold_s: float, seed: int) -> None:
    """One worker: evaluates every network, in an order of its own, until each has ``most`` observations."""
    rng = random.Random(seed)
    with EvaluationCache(folder / "cache.db") as cache:
        for number in rng.sample(range(networks), networks):
            form = f"{number} {''.join(rng.sample('abcdefgh', 8))}"

            def train(ordinal: int, number: int = number) -> tuple[dict[str, float], float]:
                _line(folder / "started", number, ordinal, os.getpid())
                seconds = rng.uniform(0, 2 * hold_s)
                time.sleep(seconds)
                value = random.SystemRandom().random()
                _line(folder / "trained", number, ordinal, value)
                return {"value": value}, seconds

            network = cache.network(f"half-{number // 2}", form, lambda form=form: form, same)
            count = 0
            while count < most:
                result = cache.evaluate(network, KEY, train, most, poll_s=hold_s / 2)
                count = result.count
                for observation in result.observations:
                    _line(folder / "returned", number, observation.ordinal, observation.metrics["value"])


def run(folder: Path, workers: int, networks: int, most: int, kills: int, hold_s: float, every_s: float) -> Figures:
    """Work with ``kills`` kills, one each ``every_s`` seconds or so; asserts all that is claimed."""
    rng = random.Random(0)
    started = time.monotonic()
    seeds = iter(range(10**9))

    def start() -> subprocess.Popen[bytes]:
        words = ["worker", folder, networks, most, hold_s, next(seeds)]
        return subprocess.Popen([sys.executable, __file__, *map(str, words)])

    running = [start() for _ in range(workers)]
    done = 0
    try:
        while not (folder / "trained").exists():
            time.sleep(0.02)
            assert all(process.poll() in (None, 0) for process in running), "a worker failed"
        while done < kills:
            time.sleep(rng.uniform(0, 2 * every_s))
            index = rng.randrange(workers)
            if running[index].poll() is not None:
                break  # all is evaluated: a later kill would show nothing
            running[index].send_signal(signal.SIGKILL)
            running[index].wait()
            done += 1
            running[index] = start()
        for process in running:
            assert process.wait(timeout=300) == 0, "a worker failed"
    finally:
        for process in running:
            process.kill()
            process.wait()
    seconds = time.monotonic() - started

    started_lines, trained, returned = (_lines(folder / name) for name in ("started", "trained", "returned"))
    with EvaluationCache(folder / "cache.db") as cache:
        frame = cache.export()
        summary = cache.summary()
    entries = list(zip(frame["key"], frame["variant"], frame["ordinal"], strict=True))
    assert len(set(entries)) == len(entries), "an ordinal is recorded twice"
    assert summary.networks == networks, "networks were mixed up, or stored twice"
    per_network = Counter((key, variant) for key, variant, _ in entries)
    assert len(per_network) == networks, "a network has no observation"
    assert set(per_network.values()) == {most}, "a network has too few or too many"
    stored = {value: entry for entry, value in zip(entries, map(repr, frame["value"].astype(float)), strict=True)}
    assert len(stored) == len(entries)
    training_of = {value: (int(number), int(ordinal)) for number, ordinal, value in trained}
    owner: dict[tuple[str, int], int] = {}
    for value, (key, variant, ordinal) in stored.items():
        number, trained_as = training_of[value]
        assert ordinal == trained_as, "an observation of another ordinal"
        assert owner.setdefault((key, variant), number) == number, "an observation of another network"
    for number, ordinal, value in returned:
        assert value in stored, "an observation that was returned has been lost"
        assert training_of[value] == (int(number), int(ordinal)), (
            "an observation was returned for another network or ordinal"
        )
    assert len(trained) - len(entries) <= done, "more trainings were repeated than workers killed"
    assert done or len(trained) == len(started_lines) == networks * most, "trained too often though nobody was killed"
    with closing(sqlite3.connect(folder / "cache.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("SELECT count(*) FROM nas_cache_claims").fetchone() == (0,), "a claim was left behind"
    return Figures(
        networks=networks,
        most=most,
        kills=done,
        broken=len(started_lines) - len(trained),
        trained=len(trained),
        recorded=len(entries),
        returned=len(returned),
        seconds=seconds,
    )


def time_look_ups(folder: Path) -> float:
    """Microseconds for ``network`` and ``lookup`` of an entry that is there: the median of 2,000."""
    times = []
    with EvaluationCache(folder / "cache.db") as cache:
        keys = cache.export().drop_duplicates(["key", "variant"])["key"].tolist()
        forms = {key: f"form of {key}" for key in keys}
        for key, form in forms.items():
            cache.network(key, form, lambda form=form: form, lambda stored, mine: True)
        for key in random.Random(0).choices(keys, k=2000):
            started = time.perf_counter()
            network = cache.network(key, forms[key], lambda: "", same)
            assert cache.lookup(network, KEY).count
            times.append(time.perf_counter() - started)
    return 1e6 * statistics.median(times)


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        folder, networks, most, hold_s, seed = sys.argv[2:]
        work(Path(folder), int(networks), int(most), float(hold_s), int(seed))
        return
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    print("| kills | broken off | trained | recorded | networks x M | returned and still there | seconds |")
    print("|---|---|---|---|---|---|---|")
    for planned in (0, kills):
        with tempfile.TemporaryDirectory() as scratch:
            networks = 400 if planned == 0 else 10 * kills
            f = run(Path(scratch), workers, networks, 3, planned, hold_s=0.1, every_s=0.25)
            row = [f.kills, f.broken, f.trained, f.recorded, f"{f.networks} x {f.most}", f.returned, round(f.seconds)]
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
            look_up_us = time_look_ups(Path(scratch))
    print(f"\nOne look-up of a known network and its answer in that cache: {look_up_us:.0f} us.")


if __name__ == "__main__":
    main()
