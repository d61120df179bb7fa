"""The loops: verdict loop, sleep and wake flights, signal pumps, metering, calendar jobs.

They connect pure decisions (:mod:`sleeper.core`) with adapters (:mod:`sleeper.kube`,
:mod:`sleeper.store`, :mod:`metrics.sources`). No HTTP here.
"""
