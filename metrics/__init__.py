"""OBSERVE: signals in, activity and its watermarks out.

Belongs here: what an audit event or a traffic sample means, how far each source has surely
seen, where that is stored, and the declaration of every Prometheus metric we expose.
Does not belong here: what follows from it (``sleeper``) and what it costs (``billing``).
May import: nothing of ours outside ``metrics``.
"""
