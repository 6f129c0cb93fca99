"""A trained model in use: predictions, exports, and what it confuses."""
