"""Pictures of records, predictions and sets: for the eye only, nothing here is scored."""
