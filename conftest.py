"""Doctest collection: `gpuseg/_cuda` imports cupy at its modules' top and has no doctests."""

collect_ignore_glob = ["gpuseg/_cuda/*"]
