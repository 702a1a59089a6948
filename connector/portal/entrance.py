"""The door of every portal page: who is there, what they may do, and in which language they read.

A page is a function of a `Visit`. It is called only for somebody whom Entra named an administrator (or a reader, for
what changes nothing) of a tenant on the operator's list, in a session that still counts, from one of our own forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import azure.functions as func

from connector import web
from connector.errors import RefusedError, Text
from connector.languages import N_, Language
from connector.portal import session
from connector.portal.access import may_configure, may_see_portal
from connector.portal.session import PortalSession
from connector.tenants import Actor, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services


@dataclass(frozen=True)
class Visit:
    """One request of somebody who may see the portal."""

    services: Services
    request: func.HttpRequest
    who: PortalSession
    language: Language
    found: TenantScope | None
    """None until the tenant is pinned to a region; only the pages that come before ask."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of a posted form."""

    @property
    def scope(self) -> TenantScope:
        assert self.found is not None  # noqa: S101 - `enter` sends everybody else to the region page
        return self.found

    @property
    def actor(self) -> Actor:
        return Actor(self.who.object_id)

    @property
    def may_change(self) -> bool:
        return may_configure(self.who)

    @property
    def posted(self) -> bool:
        return str(self.request.method) == "POST"

    @cached_property
    def path(self) -> str:
        return str(urlsplit(self.request.url).path)

    def part(self, name: str) -> str:
        """A parameter of the route."""
        return str(self.request.route_params.get(name, ""))

    def asked(self, name: str) -> str:
        return web.query_one(self.request, name) or ""

    def page(
        self, template: str, *, status: int = 200, cookies: tuple[str, ...] = (), **values: object
    ) -> func.HttpResponse:
        shown: dict[str, Any] = {"who": self.who, "may_change": self.may_change, "path": self.path, "say": self.say}
        if self.found is not None:
            shown["nav"] = next((one for one in NAVIGATION if self.path.startswith(one)), "/portal")
        shown |= {"errors": {}, **values}
        return web.page(template, status=status, cookies=cookies, csp=None, language=self.language, **shown)

    def say(self, text: str) -> str:
        """A text that was made elsewhere, in the reader's language."""
        if not isinstance(text, Text):
            return self.language.gettext(text)
        values = {name: self.say(value) if isinstance(value, Text) else value for name, value in text.values.items()}
        return self.language.gettext(text.template, **values)

    def go(self, path: str, *, cookies: tuple[str, ...] = (), **query: str) -> func.HttpResponse:
        """Redirect to one of our own pages."""
        asked = f"?{urlencode(query)}" if query else ""
        return web.redirect(self.services.settings.public_url + path + asked, cookies=cookies)


NAVIGATION = ("/portal/setup", "/portal/numbers", "/portal/history", "/portal/export")
Page = Callable[[Visit], func.HttpResponse]


@dataclass(frozen=True)
class Route:
    """A page's place: function name, route, methods. `pinned`: only for tenants that have their region."""

    name: str
    route: str
    page: Page
    methods: tuple[str, ...] = ("GET",)
    pinned: bool = True
    used: bool = True
    """False for what a page asks by itself, which must not keep a session alive."""


def blueprint(services: Callable[[], Services], routes: Iterable[Route]) -> func.Blueprint:
    bp = func.Blueprint()
    for one in routes:
        handler = bp.route(route=one.route, methods=list(one.methods))(web.answers_with_page(_entered(services, one)))
        bp.function_name(one.name)(handler)
    return bp


def _entered(services: Callable[[], Services], route: Route) -> web.Handler:
    def handler(req: func.HttpRequest) -> func.HttpResponse:
        return enter(services(), req, route)

    handler.__name__ = route.name
    return handler


def enter(services: Services, req: func.HttpRequest, route: Route) -> func.HttpResponse:
    """The page, or what stands in its place for somebody who may not see it (now)."""
    writes = req.method == "POST"
    if writes:
        web.require_same_origin(req, services.settings.public_url)
    language = web.language_of(req, "portal")
    who = session.held(req, services.sealer)
    scope = services.directory.find(who.tenant_id) if who else None
    if who is None or not _counts(who, scope, used=route.used):
        return _signed_out(services, req, language, who)
    if not may_see_portal(who) or (writes and not may_configure(who)):
        return web.page("portal/refused.html", status=403, language=language, who=who)
    if services.settings.listed_bases(who.tenant_id) is None:
        return web.page("portal/unlisted.html", status=403, language=language, who=who)
    if who.roles_age_s > (session.ROLES_LAST_S if writes else session.ROLES_FRESH_S):
        return _signed_out(services, req, language, who) if writes else _to_sign_in(services, req, why="roles")
    visit = Visit(services, req, who, language, scope, _own_form(req, who) if writes else {})
    if scope is None and route.pinned:
        return visit.go("/portal/region")
    return route.page(visit)


def _counts(who: PortalSession, scope: TenantScope | None, *, used: bool) -> bool:
    """Whoever may see nothing has no row, whether the tenant has a region or not."""
    return session.counts(who, scope if may_see_portal(who) else None, used=used)


def _own_form(req: func.HttpRequest, who: PortalSession) -> dict[str, str]:
    fields = web.form(req)
    if not who.accepts(fields.pop("form", "")):
        raise RefusedError(
            "portal.form_unknown",
            N_("This form was opened under another sign-in, so nothing was changed. Open the page again."),
            status=403,
            title=N_("Please open the page again"),
        )
    return fields


def unknown_action() -> RefusedError:
    """A form that says nothing, or nothing known, of what it is to do: nothing is guessed."""
    return RefusedError("portal.unknown_action", N_("This form is not complete. Please open the page again."))


def _signed_out(
    services: Services, req: func.HttpRequest, language: Language, who: PortalSession | None
) -> func.HttpResponse:
    """A page is shown after signing in; a form waits here, with what was typed, to be sent again."""
    if req.method != "POST":
        return _to_sign_in(services, req)
    kept = {name: value for name, value in web.form(req).items() if not name.startswith("secret")}
    mine = who is not None and who.accepts(kept.get("form", ""))
    shown = {"who": who, "action": urlsplit(req.url).path, "fields": kept if mine else None}
    return web.page("portal/again.html", status=401, language=language, csp=None, **shown)


def _to_sign_in(services: Services, req: func.HttpRequest, **why: str) -> func.HttpResponse:
    parts = urlsplit(req.url)
    to = parts.path + (f"?{parts.query}" if parts.query else "")
    return web.redirect(f"{services.settings.public_url}/portal/signin?{urlencode({'to': to, **why})}")
