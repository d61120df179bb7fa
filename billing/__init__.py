"""ACCOUNT: quantities in, statements out (money comes with the price lists).

Belongs here: reservation intervals of Pods, power-state intervals of Spaces, freed requests,
their exact sums by minute, hour and day, their tables.
Does not belong here: watching Kubernetes (``sleeper.kube``) or deciding (``sleeper.core``).
May import: ``metrics``.
"""
