"""Everything that speaks to the Kubernetes API; the only importer of kubernetes_asyncio.

One client (timeouts, status → errors, retries), sparse wire types, the reflector, the inventory,
JSON Patch building, records, the Lease elector, Events. Decides nothing.
"""
