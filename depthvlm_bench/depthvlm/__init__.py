"""DepthVLM itself: the depth heads, the model, its loading, inference and training (needs torch)."""

from depthvlm_bench.depthvlm.versions import check_transformers

check_transformers()
