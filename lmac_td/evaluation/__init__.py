"""From clips to a table of scores."""
