"""Predictions made elsewhere: reading, matching to records, and checking what is declared of them."""
