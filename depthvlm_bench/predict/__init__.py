"""Models and how they are asked: cards, contracts, read-outs, and the resumable runner."""
