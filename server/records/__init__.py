"""What a run writes down: rows, reports, recorded features, progress."""
