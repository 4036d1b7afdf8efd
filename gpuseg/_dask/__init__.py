"""Chunked arrays: map, overlap and merge, calling the floor of each chunk."""
