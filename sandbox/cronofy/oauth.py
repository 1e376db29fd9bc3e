"""The two OAuth calls that use the client's own credentials (§7)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.cronofy.gate import Call, call_of
from sandbox.state import Sandbox
from sandbox.world.accounts import Account

NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuth:
    """The endpoints under `/oauth`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def routes(self) -> list[Route]:
        return [
            Route("/oauth/token", self.token, methods=["POST"]),
            Route("/oauth/token/revoke", self.revoke, methods=["POST"]),
        ]

    async def token(self, request: Request) -> Response:
        """Exchange a refresh token or an authorization code for an access token."""
        call = call_of(request)
        if not self._known_client(call):
            return _refused("invalid_client")
        registry = self.sandbox.world.registry
        account: Account | None
        linking: dict[str, Any] = {}
        match call.body.get("grant_type"):
            case "refresh_token":
                account = call.account
                if account is not None:
                    registry.refresh(account)
            case "authorization_code":
                account = registry.redeem(call.body.get("code"), call.body.get("redirect_uri"))
                linking = _linking(account) if account else {}
            case _:
                return _refused("unsupported_grant_type")
        if account is None:
            return _refused("invalid_grant")
        granted: dict[str, Any] = {
            "token_type": "bearer",
            "access_token": account.access_token,
            "expires_in": int(self.sandbox.options.token_seconds),
            "refresh_token": account.refresh_token,
            "scope": account.scope,
            "sub": account.sub,
            **linking,
        }
        return JSONResponse(granted, headers=NOT_STORED)

    async def revoke(self, request: Request) -> Response:
        """End the authorisation of a token or a `sub`; 200 even for an unknown one (RFC 7009)."""
        call = call_of(request)
        if not self._known_client(call):
            return _refused("invalid_client")
        registry = self.sandbox.world.registry
        # The Node SDK names the token `refresh_token` (§7).
        token = str(call.body.get("token") or call.body.get("refresh_token") or "")
        sub = call.body.get("sub")
        account = registry.refresher(token) or registry.bearer(token)
        if account is None and not token and sub:
            account = next((a for a in registry.accounts() if a.sub == sub), None)
        if account is not None:
            registry.expire_access_tokens(account.sub)
            registry.revoke_refresh_token(account.sub)
        return Response(status_code=200, headers=NOT_STORED)

    def _known_client(self, call: Call) -> bool:
        options = self.sandbox.options
        return (
            call.body.get("client_id") == options.client_id
            and call.body.get("client_secret") in options.client_secrets
        )


def _linking(account: Account) -> dict[str, Any]:
    """Return what only the exchange of a code tells: the account, and the profile just connected (§7)."""
    described: dict[str, Any] = {"account_id": account.sub}
    if account.calendar_profiles:
        profile = account.calendar_profiles[0]
        described["linking_profile"] = {
            "provider_name": profile.provider_name,
            "provider_service": profile.provider_service,
            "profile_id": profile.profile_id,
            "profile_name": profile.profile_name or account.email,
        }
    return described


def _refused(reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=400, headers=NOT_STORED)
