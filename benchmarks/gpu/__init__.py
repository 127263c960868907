"""What only a GPU can tell, in one call: see ``benchmarks/gpu.sh``.

``runner`` runs the parts of ``parts`` one after the other, each in a process of its
own, within a total time; ``environment`` checks the machine before that, and
``figures`` keeps what was measured. All but ``parts`` need Python alone.
"""
