"""How Celery finds our modules: never in the directory that a process was started in."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from celery.loaders.app import AppLoader


class Loader(AppLoader):
    """Celery's loader, which would otherwise prefer a ``tasks.py`` of the working directory to our tasks."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> ModuleType:
        """Import a module from where it is installed."""
        return (imp or import_module)(module, package)
