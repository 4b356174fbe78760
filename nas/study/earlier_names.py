"""Options of searches that had another name in the first release, whose studies and scripts are still read."""

from __future__ import annotations

EARLIER_NAMES = {"evaluations": "repeats", "forget": "revisit_probability", "references": "train_published"}
"""From a name of the first release to that of today."""
