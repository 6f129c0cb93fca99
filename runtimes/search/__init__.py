"""A search: trials without the test set, the winner as a file, and its runs."""
