"""Raw trees to sets: plan, shards, index; and the checks before (doctor) and after (verify)."""
