"""Models of several sizes: sub-models, early exits, and the clients' sizes."""
