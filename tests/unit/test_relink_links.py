"""Which relink URLs are emailed and which are refused, without ever repeating one."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mail.relink_links import refusal

SANDBOX = "http://127.0.0.1:9999"
API = "https://api-de.example.net"
SECRET = "t0psecret"


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        pytest.param("https://cronofy.com/relink?token=t0psecret", None, id="the host itself"),
        pytest.param("https://app.cronofy.com/v2/relink/go_to?e=a%40b", None, id="below it"),
        pytest.param("https://app-de.eu.cronofy.com/", None, id="further below"),
        pytest.param("HTTPS://App.Cronofy.COM/", None, id="case"),
        pytest.param("https://app.cronofy.com:8443/", None, id="port"),
        pytest.param("https://app.cronofy.com", None, id="no path"),
        pytest.param("https://münchen.cronofy.com/", None, id="IDNA"),
        pytest.param("https://api-de.example.net/relink", API, id="the API's host"),
        pytest.param("https://api-de.example.net:8443/relink", API, id="the API's host, another port"),
        pytest.param("http://127.0.0.1:1234/relink", SANDBOX, id="the sandbox, another port"),
        pytest.param("https://127.0.0.1/relink", SANDBOX, id="the sandbox by https"),
        pytest.param("http://[::1]:1234/relink", "http://[::1]:9999", id="the sandbox on IPv6"),
    ],
)
def test_mailable(url: str, trusted: str | None) -> None:
    """https at or below an allowed host may be emailed, and any link to the API's own host."""
    assert refusal(url, ["example.org", "cronofy.com"], trusted) is None


#: What is refused, by the given reason.
REFUSED = {
    "evilcronofy.com, which is not among": ["https://evilcronofy.com/t0psecret"],
    "is not among": [
        "https://cronofy.com.evil.example/t0psecret",
        "https://[::1]/",
        "http://127.0.0.1:9999/t0",
    ],
    "no valid host": [
        *("https://cronofy.com./t0psecret", "https://..cronofy.com/", "https:///t0psecret"),
        *("https:app.cronofy.com/t0psecret", "https://:443/t0psecret", "https://[::1%25eth0]/"),
        # Encodings that hide something in a host: a slash, a hash, a full-width letter, labels IDNA refuses.
        *("https://evil.example%2f.cronofy.com/", "https://evil.example%23.cronofy.com/"),
        *("https://\uff43ronofy.com/", "https://fa\xdf.cronofy.com/", f"https://\xe4{'a' * 70}.cronofy.com/"),
    ],
    "malformed": [
        *("https://[t0psecret]/", "https://app.cronofy.com:99999/", "https://evil.example\uff0f.cronofy.com/")
    ],
    "a user name": [
        *("https://t0psecret@app.cronofy.com/", "https://app.cronofy.com:t0psecret@evil.example/"),
        "https://@app.cronofy.com/",
    ],
    "a backslash": ["https://evil.example\\@app.cronofy.com/"],
    "without https": ["http://app.cronofy.com/t0psecret"],
    "neither https nor http": ["javascript:alert('t0psecret')", "//app.cronofy.com/", ""],
    "white space": [
        *(" https://app.cronofy.com/", "https://app.cronofy.com/a\r\nBcc: t0psecret"),
        "ht\ttps://app.cronofy.com/",
    ],
    "control character": ["https://app.cronofy.com/\u202e", "https://app.cronofy.com/\ud800"],
    "longer than 2048": ["https://app.cronofy.com/" + "a" * 2025],
}


ROWS = [(url, reason) for reason, urls in REFUSED.items() for url in urls]


@pytest.mark.parametrize(("url", "reason"), ROWS, ids=[f"{why}: {ascii(url)[:50]}" for url, why in ROWS])
@pytest.mark.parametrize("trusted", [None, API], ids=["no API URL", "API URL"])
def test_refused(url: str, reason: str, trusted: str | None) -> None:
    """Anything else is refused in one sentence that does not contain the URL."""
    why = refusal(url, ["cronofy.com"], trusted)

    assert why is not None
    assert reason in why
    assert why.isprintable()
    assert why.endswith(".")
    assert SECRET not in why


@pytest.mark.parametrize(
    ("trusted", "url"),
    [
        pytest.param(API, "http://api-de.example.net/", id="API by https, link by http"),
        pytest.param(SANDBOX, "http://app.cronofy.com/", id="allowed host by http beside the sandbox"),
        pytest.param(SANDBOX, "http://127.0.0.2:9999/", id="not the sandbox"),
        pytest.param(SANDBOX, "http://127.0.0.1.evil.example/", id="sandbox as prefix"),
        pytest.param(API, "https://below.api-de.example.net/", id="below the API's host"),
    ],
)
def test_trusted_origin_vouches_only_for_its_own_host(trusted: str, url: str) -> None:
    """The API URL allows neither http for other hosts nor https hosts below it."""
    assert refusal(url, ["cronofy.com"], trusted) is not None


@pytest.mark.parametrize(
    ("allowed", "passes"),
    [
        (["Cronofy.com"], True),
        ([".cronofy.com"], True),
        ([" cronofy.com "], True),
        ([], False),
        ([""], False),
        (["."], False),
    ],
    ids=repr,
)
def test_allowed_hosts_may_be_written_carelessly(allowed: list[str], passes: bool) -> None:
    """Case, a leading dot and blanks around entries do not matter; no host is below an empty name."""
    assert (refusal("https://app.cronofy.com/", allowed, None) is None) is passes


@given(
    prefix=st.text(max_size=20),
    glue=st.sampled_from(["", ".", "@", "/", "\\", "#", "?", ":", "%2e", "。", "-", "\u200d"]),
    suffix=st.text(max_size=10),
    path=st.from_regex(r"[A-Za-z0-9]{12,20}", fullmatch=True),
)
def test_accepted_urls_have_an_allowed_host_and_refused_ones_stay_secret(
    prefix: str, glue: str, suffix: str, path: str
) -> None:
    """However the allowed name is embedded, a URL that passes has a host at or below it, by https."""
    url = f"https://{prefix}{glue}cronofy.com{suffix}/{path}"
    why = refusal(url, ["cronofy.com"], None)

    if why is None:
        host = (urlsplit(url).hostname or "").encode("idna").decode()
        assert host == "cronofy.com" or host.endswith(".cronofy.com")
        assert "@" not in url.split("/")[2]
    else:
        assert why.isprintable()
        assert path not in why
