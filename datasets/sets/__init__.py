"""Data sets by name: each is ``load`` in a file of its own.

``load(request, *, <annotated parameters with defaults>)`` returns a `datasets.dataset.Dataset`, or
`datasets.arrays.Arrays`, as a data set from outside does; the parameters are ``dataset.<parameter>``.
"""
