"""Sphinx configuration of the reference documentation."""

project = "nas"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
html_title = "nas"
smartquotes = False  # options are written with two dashes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}


def setup(app):
    """A directive that lists the options of a search as the code has them."""
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    class SearchOptions(Directive):
        def run(self):
            from docutils import nodes

            from nas.engine.options import options_table
            from nas.engine.settings import SearchSettings

            lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 25 15 40", ""]
            rows = options_table(SearchSettings)
            header = list(rows[0])
            cells = [[f"``{row[key]}``" if row[key] and key != "help" else row[key] for key in header] for row in rows]
            for texts in [header, *cells]:
                lines += [f"   {' ' if index else '*'} - {text}" for index, text in enumerate(texts)]
            container = nodes.container()
            self.state.nested_parse(StringList(lines, source="options"), self.content_offset, container)
            return container.children

    app.add_directive("search-options", SearchOptions)
