"""Recipes opened: composed, typed, built, guarded.

From top to bottom: ``open`` opens what a command line names (``command_line``), builds
it (``build``) and guards it (``guards``, with what ``kept`` keeps beside a run), then
loads weights (``weights``). A recipe is read (``yaml_files``), merged (``recipe``,
``overlays``) and checked against the settings that it declares (``settings``, with
their types in ``value_types`` and ``scalar_types``).
"""
