"""Omium: a durable runtime on Ray for multi-agent AI workflows."""

__version__ = "0.1.0"
