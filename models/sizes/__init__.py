"""Models of several sizes: sub-models, early exits, and which client has which."""
