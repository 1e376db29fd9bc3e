"""The way out: proxies and certificates, from the environment as httpx reads it.

httpx reads more than it can use, and what it cannot use is an error that names no variable.
"""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import httpx

from config.settings import SettingsError

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def http_client(**options: Any) -> httpx.Client:
    """A client of httpx with these options; SettingsError names a variable that it cannot use."""
    for name, value in list(os.environ.items()):
        if name.lower() == "no_proxy" and (known := _known(value)) != value:
            os.environ[name] = known
        if name.lower() in _PROXIES and value:
            _check_proxy(name, value)
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if directory and not file and not Path(directory).is_dir():
        raise SettingsError("SSL_CERT_DIR names no directory of certificates.")
    try:
        return httpx.Client(**options)
    except OSError as error:
        why = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"SSL_CERT_FILE cannot be used: {why}.") from None


def _check_proxy(name: str, value: str) -> None:
    try:
        url = httpx.Proxy(value if "://" in value else f"http://{value}").url
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if not url.host:
        raise SettingsError(f"{name} must be the URL of a proxy, such as http://proxy.example:3128.")
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise SettingsError(f"{name} names a SOCKS proxy, which needs httpx[socks]: name one by http://.")


def _known(hosts: str) -> str:
    """The hosts of a NO_PROXY without what httpx takes for a bad URL, such as networks of IPv6."""
    kept = []
    for entry in hosts.split(","):
        host = entry.strip().removeprefix("[").removesuffix("]")
        try:
            httpx.URL(host if "://" in host else f"all://*{host}")
        except httpx.InvalidURL:
            try:
                IPv6Address(host)
            except ValueError:
                continue
        kept.append(host)
    return ",".join(kept)
