"""Raw-tree readers: one module a dataset says how its tree is indexed and read, and nothing else."""
