"""Train and measure all methods that a file lists.

``listing`` reads the file, ``plan`` turns it into commands, ``commands`` runs a
command, ``schedule`` runs those that are not up to date, ``minutes`` records their
durations, and ``report`` makes the table.
"""
