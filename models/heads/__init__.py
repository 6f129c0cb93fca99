"""Heads of classifiers: fixed heads, realignment, several heads on a shared body."""
