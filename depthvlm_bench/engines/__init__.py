"""Where work is done: in this process, in local ones, or on Ray; the work itself is the same function."""
