"""A recipe, opened: its settings, its guards, its weights."""
