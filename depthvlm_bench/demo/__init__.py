"""Small procedural scenes with exact metric depth, written in the raw on-disk formats of real datasets."""
