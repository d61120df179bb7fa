"""Configuration: declared in ``settings``, read by ``reading``, cross-checked by ``rules``.

Everything about a setting (name, type, default, meaning) is declared once, as a field of a frozen
dataclass; ``docs/reference/configuration.md`` is generated from the declarations.
"""

from sleeper.config.reading import LoadedConfig, load_config
from sleeper.config.settings import Config

__all__ = ["Config", "LoadedConfig", "load_config"]
