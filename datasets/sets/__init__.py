"""Data sets by name: one file each, with a function ``load``.

``load(request, *, <annotated parameters with defaults>)`` returns a `datasets.dataset.Dataset`, or
`datasets.arrays.Arrays`, as a plug-in's does; the parameters are ``dataset.<parameter>``.
"""
