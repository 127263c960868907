"""Tables, figures and sounds for people."""
