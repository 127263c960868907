"""The embedded corpus: environment-like sounds that are synthesised."""
