"""Weights by the names of nodes: what two networks share, and published weights read into one."""

from __future__ import annotations

from search_spaces.pytorch.weights.load import load_weights as load_weights
from search_spaces.pytorch.weights.shared import SharedParameter as SharedParameter
from search_spaces.pytorch.weights.shared import copy_shared_parameters as copy_shared_parameters
from search_spaces.pytorch.weights.shared import shared_parameters as shared_parameters
