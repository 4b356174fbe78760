"""Search algorithms: a protocol, and a table of strings.

A searcher is a file here and a row of ``nas.searchers.catalog.SEARCHERS``, or an entry point of the group
``nas.searchers``. A name with a colon is a row of ``SEARCHER_FAMILIES`` with what it is made of: ``optuna:TPESampler``.
"""
