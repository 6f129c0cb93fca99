"""Several clients of a cohort trained at once: their tensors are stacked along a first dimension.

``answers.py`` answers several messages together, ``training.py`` is the loop, ``stand_in.py`` the one client
that hooks see for the whole stack. What cannot be stacked raises `stackable.NotStackableError` and is trained
one client at a time. Results are those of ``clients/local/training.py`` up to rounding.
"""
