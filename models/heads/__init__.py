"""What is done with a classifier's head: fixed heads, realignment, sharing the body."""
