"""A real Kubernetes for development, without Docker: ordinary processes in namespaces of their own.

The layers, outermost first:

- ``cli``: arguments, then the binaries (``build``), then the namespaces (``isolation``);
- ``launcher``: inside the namespaces, starts everything, runs the command, takes everything down;
- ``components``: one file per component, each saying how it is started and when it is ready;
- ``site``, ``pki``, ``identities``: where things are, and who everybody is;
- ``control`` and ``client``: how a test stops, pauses or restarts a single component.
"""
