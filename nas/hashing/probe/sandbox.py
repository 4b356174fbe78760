"""Isolation of a run: float64, silence, fixed random states, a time limit; and all as before afterwards."""

from __future__ import annotations

import ctypes
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from nas.hashing.probe.key import ProbeError


class _TimeLimitExceeded(BaseException):
    """Raised inside the probed code; not an ``Exception``, which that code might catch."""


def seed_global_generators(seed: int) -> None:
    """Seed ``random``, numpy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch accelerators


@contextmanager
def sandbox(seconds: float, subject: str) -> Iterator[None]:
    """Float64 by default, gradients on, silence; and afterwards everything as before, random states included."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with (
            warnings.catch_warnings(),  # a warning must not become an exception, and so a key, under python -W error
            np.errstate(all="ignore"),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            _time_limit(seconds, subject),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
        torch.set_default_dtype(states[3])


@contextmanager
def _time_limit(seconds: float, subject: str) -> Iterator[None]:
    """Stops Python code of this thread after ``seconds``; a single long call into C is stopped when it returns."""
    raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
    thread, lock = ctypes.c_ulong(threading.get_ident()), threading.Lock()
    done = fired = False

    def stop() -> None:
        nonlocal fired
        with lock:
            if not done:
                fired = True
                raise_in_thread(thread, ctypes.py_object(_TimeLimitExceeded))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    try:
        try:
            timer.start()
            yield
        finally:
            with lock:
                done = True
            timer.cancel()
            if fired:
                raise_in_thread(thread, None)  # one that was not delivered yet
    except _TimeLimitExceeded:  # which may come before the run and after it, too
        pass
    if fired:
        raise ProbeError(f"{subject} took more than {seconds:g} s; give it smaller inputs or a larger `seconds`")
