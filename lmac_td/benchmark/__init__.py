"""Train and measure everything that a file lists.

``listing`` reads the file, ``plan`` turns it into commands, ``commands`` runs one,
``schedule`` runs those that are not up to date, ``minutes`` keeps what each took, and
``report`` makes the table.
"""
