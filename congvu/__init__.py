"""Công Vụ: the official e-mail system of a Vietnamese province."""

__version__ = "0.1.0"
