"""Model adapters: one module a model family says how it is loaded and asked, and nothing else."""
