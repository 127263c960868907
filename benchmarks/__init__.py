"""What it costs: the published way and this one, side by side in one run.

See ``benchmarks/README.md``. Nothing here is imported by the project itself.
"""
