"""The components: one file each, one function each, from a :class:`~devcluster.site.Site`."""
