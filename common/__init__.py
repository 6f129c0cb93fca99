"""What every room may import: configuration, keyed randomness, records and errors."""
