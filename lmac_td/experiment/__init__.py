"""Open recipes: compose them, check types, build objects, guard runs.

``open`` opens the recipe that a command line names (``command_line``), builds it
(``build``), checks it against earlier runs (``guards``, with the settings that ``kept``
stores with a run) and loads weights (``weights``). A recipe is read (``yaml_files``),
merged (``recipe``, ``overlays``) and checked against the settings that it declares
(``settings``, with their types in ``value_types`` and ``scalar_types``).
"""
