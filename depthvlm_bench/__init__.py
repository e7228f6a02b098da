"""depthvlm-bench: one record format, one harness and one scorer for metric depth estimation."""

__version__ = "0.1.0"
