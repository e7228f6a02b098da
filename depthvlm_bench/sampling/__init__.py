"""Which images and which pixels an evaluation set asks, and the manifest that pins them."""
