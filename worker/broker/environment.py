"""What Celery and its libraries would read from the environment on their own.

Some of it wins over our settings: where messages go, how a process ends. It may be there for another
application, so none of it has any effect here.
"""

from __future__ import annotations

import os
from typing import Final

_PREFIXES: Final = ("CELERY_", "C_", "KOMBU_", "DJANGO_")
#: By Celery's command line, then by Celery, Kombu and Billiard as modules.
_NAMES: Final = frozenset(
    {
        *("APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "SKIP_CHECKS"),
        *("AUTOSCALE_KEEPALIVE", "EVENTLET_NOBLOCK", "NOSETPS", "TIMER_DEBUG", "USE_FAST_LOCALS"),
        *("DISABLE_TRACEBACKS", "PICKLE_PROTOCOL"),
        *("FORKED_BY_MULTIPROCESSING", "MP_LOG", "MP_MAIN_FILE", "REMAP_SIGTERM"),
    }
)


def is_celerys(name: str) -> bool:
    """Whether Celery or one of its libraries reads this variable."""
    return name in _NAMES or name.startswith(_PREFIXES)


def forget_celerys_variables() -> None:
    """Remove them from this process's environment; to be called before Celery is imported."""
    for name in [name for name in os.environ if is_celerys(name)]:
        del os.environ[name]
