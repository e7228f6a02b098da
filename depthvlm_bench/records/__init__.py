"""The unified record: one row an image, one Arrow schema for every set."""
