"""Functional keys: equal where two networks are the same trainable thing, however they are written."""

from __future__ import annotations

from nas.hashing.functional_key import InputShapes, functional_hash

__all__ = ["InputShapes", "functional_hash"]
