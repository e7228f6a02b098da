"""Sets in other projects' formats."""
