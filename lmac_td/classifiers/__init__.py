"""What is explained: one adapter a kind of classifier."""
