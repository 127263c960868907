"""Explain recordings of your own: files, arrays, long sounds, and what is written."""
