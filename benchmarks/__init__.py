"""Benchmarks: one scenario a module, behind ``python -m benchmarks``.

Speed is never asserted in a test. Each scenario measures a floor or a peer in the same run and
prints its figures as JSON on its last line.
"""
