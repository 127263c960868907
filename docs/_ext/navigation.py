"""The navigation beside a page: all pages at the top, and the branch of the page.

Without this, Sphinx copies the whole API reference for each page, with its functions
and classes. Two thirds of a build went into these copies, and half of the files were
navigation.
"""

from sphinx import addnodes


def entry_of(toc, opened):
    """Return the title of a page, with the pages below it if ``opened``."""
    toc = toc.deepcopy()
    for item in toc.children:
        if len(item) > 1:  # a title, and what is below it
            below = list(item.findall(addnodes.toctree)) if opened else []
            if below:
                item[1][:] = below
            else:
                item.pop(1)
    return toc


class Navigation:
    """The entries of all pages, closed and opened."""

    def read(self, app, env):
        """Cut the tables of contents to titles, once for all pages."""
        includes = env.toctree_includes
        self.parents = {
            child: page for page, found in includes.items() for child in found
        }
        self.closed = {page: entry_of(toc, False) for page, toc in env.tocs.items()}
        self.opened = {page: entry_of(env.tocs[page], True) for page in includes}

    def branch(self, page):
        """Return the entries of all pages, those from the top to a page opened."""
        entries = dict(self.closed)
        while page is not None:
            if page in self.opened:
                entries[page] = self.opened[page]
            page = self.parents.get(page)
        return entries

    def replace(self, app, pagename, templatename, context, doctree):
        """Replace the function with which the theme asks for the tree."""
        whole, env = context["toctree"], app.env
        entries = self.branch(pagename)

        def toctree(**options):
            tocs, env.tocs = env.tocs, entries
            try:
                return whole(**options)
            finally:
                env.tocs = tocs

        context["toctree"] = toctree


def setup(app):
    navigation = Navigation()
    app.connect("env-updated", navigation.read)
    # Before the theme asks.
    app.connect("html-page-context", navigation.replace, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
