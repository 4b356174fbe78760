"""Keys of modules and programs whose structure cannot be read, by running them on fixed numbers.

Modules, callables, learning programs and optimisers are run at a *generic point*, where nothing is 0, 1 or equal by
chance, and what comes out is rounded and digested. Such keys begin with ``probe-1:``, are probabilistic, and are never
to be mixed with the exact keys of graphs. Nothing here is measured on data and nothing is trained.
"""

from __future__ import annotations

from nas.hashing.probe.callables import probe_callable
from nas.hashing.probe.key import ProbeError, ProbeKey, same_key
from nas.hashing.probe.modules import probe_module
from nas.hashing.probe.optimizers import probe_optimizer, probe_program

__all__ = [  # noqa: RUF022 - the order of the documentation
    "ProbeError",
    "ProbeKey",
    "same_key",
    "probe_module",
    "probe_callable",
    "probe_program",
    "probe_optimizer",
]
