"""Reading and writing: slides, annotations, label pyramids, tables."""
