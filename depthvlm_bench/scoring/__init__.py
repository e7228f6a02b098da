"""Scores: metrics as sums and counts, protocols as files, intervals."""
