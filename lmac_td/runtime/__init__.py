"""How a process computes: its set-up, memory, linear layers and compilation."""
