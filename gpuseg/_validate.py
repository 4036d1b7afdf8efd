"""Argument checks that public functions share; each raises before any work starts."""
