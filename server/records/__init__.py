"""What a run records: rows, reports, recorded features, progress."""
