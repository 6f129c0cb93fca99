"""Further metrics by name (``metrics``): each is ``metric(outputs, targets)`` in a file of its own.

It returns a value for each sample of a batch, or the sum and the count of what it counted.
"""
