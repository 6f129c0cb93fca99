"""Additional metrics by name (``metrics``): one file each, with a function ``metric(outputs, targets)``.

It returns a value for each sample of a batch, or a sum and a count.
"""
