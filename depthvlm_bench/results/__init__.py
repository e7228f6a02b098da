"""Results: one JSON a score with its provenance, per-image rows beside it."""
