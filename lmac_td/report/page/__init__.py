"""A page of explanations: sounds that switch at the same position, and a dial."""
