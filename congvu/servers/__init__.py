"""Protocols: bytes in, bytes out. Every server has the same plan: lines, words, table, run."""
