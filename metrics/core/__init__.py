"""Pure values and folds of observation: no clock, no I/O, no logging.

Everything here receives ``now`` as an argument and returns values.
"""
