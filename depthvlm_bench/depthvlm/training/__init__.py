"""Training the model: data straight from converted sets, mixed with general instruction data."""
