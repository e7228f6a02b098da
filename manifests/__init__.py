"""Data without code: dataset cards, official split lists, protocols and prompts."""
