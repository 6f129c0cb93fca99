"""Server halves of the methods: Flower strategies, one file per method."""
