"""Speed benchmarks: the published implementation and this project's, in one run.

See ``benchmarks/README.md``. The package ``lmac_td`` does not import this one.
"""
