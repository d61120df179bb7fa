"""Entry point of ``deploy/devcluster/run``."""

from devcluster.cli import main

raise SystemExit(main())
