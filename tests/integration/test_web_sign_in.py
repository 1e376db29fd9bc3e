"""Signing in: a form, a cookie in place of the token, and what other sites can make of both."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.integration.nginx import nginx_before
from tests.integration.served import serving

TOKEN = "a-token-of-the-board"
EVENT = "/board/event?account=a&calendar=b&event=c"


@pytest.fixture
def url(redis_url: str) -> Iterator[str]:
    """The URL of what is served, with no wrong tokens counted yet."""
    with serving(redis_url=redis_url, vault_keys=Fernet.generate_key().decode(), board_token=TOKEN) as url:
        yield url


def sign_in(url: str, token: str = TOKEN, then: str = "/", **headers: str) -> httpx.Response:
    fields = {"token": token, "then": then}
    return httpx.post(f"{url}/board/sign-in", data=fields, headers=headers, trust_env=False)


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    [cookie] = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return cookie


def get(url: str, path: str, cookie: Morsel[Any]) -> int:
    sent = {"Cookie": f"{cookie.key}={cookie.value}"}
    return httpx.get(url + path, headers=sent, trust_env=False).status_code


def test_the_form_stands_where_the_page_would_be(url: str) -> None:
    """It leads on to that page; no browser prompts for a password of its own."""
    answer = httpx.get(url + EVENT, trust_env=False)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="reconciler"')
    assert 'method="post"' in answer.text
    assert EVENT.replace("&", "&amp;") in answer.text


def test_the_token_is_typed_once(url: str) -> None:
    """The cookie opens the board and the metrics, holds no token, and no script can read it."""
    answer = sign_in(url, then=EVENT)
    cookie = cookie_of(answer)

    assert (answer.status_code, answer.headers["Location"]) == (303, EVENT)
    assert TOKEN not in cookie.value
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "lax", "")
    assert [get(url, path, cookie) for path in ("/", EVENT, "/metrics")] == [200, 404, 200]


@pytest.mark.parametrize(
    "said",
    [{"Origin": "https://board.example.org"}, {"X-Forwarded-Proto": "https"}],
    ids=["browser", "proxy"],
)
def test_behind_tls_the_cookie_stays_behind_tls(url: str, said: dict[str, str]) -> None:
    """The browser says by which scheme it came, even where the proxy does not."""
    assert cookie_of(sign_in(url, **said))["secure"] is True


def test_it_works_through_a_proxy_that_says_nothing(url: str, tmp_path: Path) -> None:
    """The cookie, and the way on to the page, at the proxy's address."""
    with nginx_before(url, tmp_path) as before, httpx.Client(trust_env=False) as browser:
        fields = {"token": TOKEN, "then": "/"}
        page = browser.post(f"{before}/board/sign-in", data=fields, follow_redirects=True)

    assert (page.status_code, str(page.url)) == (200, f"{before}/")


@pytest.mark.parametrize(
    "then",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "", "/board/live"],
)
def test_it_leads_to_no_other_site(url: str, then: str) -> None:
    """Only to a page of the board."""
    assert sign_in(url, then=then).headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/board/sign-in", "/board/sign-out"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_signs_nobody_in_or_out(url: str, path: str, site: str) -> None:
    """A browser says that another site's page sends the form."""
    answer = httpx.post(url + path, data={"token": TOKEN}, headers={"Sec-Fetch-Site": site}, trust_env=False)

    assert "Set-Cookie" not in answer.headers


def test_signing_out_takes_the_cookie_back(url: str) -> None:
    answer = httpx.post(f"{url}/board/sign-out", trust_env=False)

    assert (cookie_of(answer).value, cookie_of(answer)["max-age"]) == ("", "0")


def test_guessing_ends(url: str) -> None:
    """Ten wrong tokens, and none is looked at for a minute; whoever is signed in notices nothing."""
    cookie = cookie_of(sign_in(url))
    answers = [sign_in(url, token=f"wrong {n}").status_code for n in range(11)]

    assert answers == [401] * 10 + [429]
    assert sign_in(url).status_code == 429
    assert get(url, "/", cookie) == 200


@pytest.mark.parametrize("body", [b"", b"\xff", b"token", b"&" * 60000, b"a=b&" * 1000])
def test_a_form_that_is_none_is_a_wrong_token(url: str, body: bytes) -> None:
    assert httpx.post(f"{url}/board/sign-in", content=body, trust_env=False).status_code == 401
