"""The pure heart: policy, schedule, hazards, verdict, plan, restore.

Functions of values plus ``now``. No clock, no I/O, no logging, no Kubernetes client.
"""
