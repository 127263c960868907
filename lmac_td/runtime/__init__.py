"""How a process computes: memory, linear layers, compilation."""
