"""Contract tests of search spaces."""

from __future__ import annotations

from nas.testing.space_determinism import DeterminismChecks
from nas.testing.space_genotypes import GenotypeChecks
from nas.testing.space_networks import NetworkChecks
from nas.testing.space_sizes import SizeChecks


class SpaceContract(NetworkChecks, GenotypeChecks, SizeChecks, DeterminismChecks):
    """What every search space keeps. Subclasses define ``make_space``, and options that keep the tests quick.

    ``samples``: random networks to look at. ``trained``: how many of them, at most, run forward and backward.
    ``small``: options, such as the image size, under which that takes little; they must leave the choices alone.
    ``cut_down``: options of the space, and ``only``: options of single choices by name, that leave few enough
    genotypes to list; where neither is given, a random part of up to ``listed`` genotypes is. ``where``: what
    ``nas.load_space`` takes for the space in another process; needed only where the function is no top-level function
    of a module or a file.
    """
