"""Leaderboards: results under one protocol as tables on screen and as files."""
