"""What a full depth map costs: computed from sizes in plain Python, or measured where a model runs."""
