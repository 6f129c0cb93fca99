"""Messages to clients and their replies: addressing, exchange, checks."""
