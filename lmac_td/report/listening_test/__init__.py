"""Listening tests with webMUSHRA: export of evaluated clips, and their ratings."""
