"""Long jobs in bounded memory: a slide or a volume, box by box, from readers to writers."""
