"""Pure values and sums of accounting: integers in, integers out; no clock, no I/O.

Instants are whole epoch seconds (UTC) and every interval is half-open, ``[start, end)``.
"""
