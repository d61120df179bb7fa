"""The story of ``make demo``: people, robots and a watcher around a real sleeper daemon.

``spaces`` is the stage, ``actors`` act on it, ``daemon`` runs the real ``sleeper run`` under the
RBAC that we ship, ``watcher`` judges by the API server alone, ``story`` tells it scene by scene.
Nothing here imports sleeper: what a user cannot do, the demo does not do either.
"""
