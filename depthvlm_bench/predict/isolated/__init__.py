"""Models whose dependencies clash, each in a worker process of an environment of its own."""
