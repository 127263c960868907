"""Measure on a GPU what cannot be measured without one; see ``benchmarks/gpu.sh``.

``runner`` runs the parts of ``parts`` one after the other, each in its own process and
within a total time. ``environment`` checks the machine before, ``figures`` saves the
results. All modules but ``parts`` and those that it imports need only Python.
"""
