"""What an execution is: its records, its journal events and the laws they obey.

Pure. Nothing here does I/O, knows the time, or draws a random number; facts come in as
arguments and decisions go out as values.
"""
