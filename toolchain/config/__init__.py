"""Run files of training: their tables, read, checked and written back resolved."""
