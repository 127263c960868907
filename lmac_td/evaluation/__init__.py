"""Score explanations of clips and collect the scores in a table."""
