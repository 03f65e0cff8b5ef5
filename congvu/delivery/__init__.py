"""A letter's way in, across and out: gather, decide, keep."""
