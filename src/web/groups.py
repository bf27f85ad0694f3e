"""``group("/api", *forms)``: forms below a prefix, with hooks that run for them alone.

A Group is a collection that grows, as an App does, until it is put into an App or another group: from then on adding
to it is an error, because it would count for nothing. ``unfold()`` gives its forms as an App takes them: routes and
folders with their whole patterns and with the hooks around them, start and stop hooks, and the scope of each group with
a prefix.

A scope is an Endpoint that stands for the group where no route matches (see _core_dispatch.pxi). Groups without hooks
have one, too: a 404 below their prefix is theirs, and not that of a group further out.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from web._core import Endpoint
from web.decorators import Decorators
from web.errors import RouteError
from web.routing import (
    REST,
    After,
    Before,
    Bundle,
    Errors,
    OnStart,
    OnStop,
    Part,
    Route,
    RouteList,
    make_chain,
    parse_pattern,
)
from web.static import Static

__all__ = ["Group", "group"]

Flat: TypeAlias = Route | Static | OnStart | OnStop | Endpoint


class Group(Decorators):
    """Forms below a prefix; see ``group``."""

    def __init__(self, prefix: str, *forms: Any) -> None:
        _parse_prefix(prefix)
        self.prefix = prefix
        self._forms: list[Route | Static | Group | OnStart | OnStop] = []
        self._before: list[Before] = []
        self._after: list[After] = []
        self._errors: Errors | None = None
        self._checked = RouteList()  # what is wrong among its own routes is told where it is written
        self._placed = False
        self.add(*forms)

    def __repr__(self) -> str:
        return f"group({self.prefix!r})"

    def add(self, *forms: Any) -> None:
        """Add forms, in order: routes, hooks, ``errors``, folders, groups."""
        if self._placed:
            raise RouteError(f"{self!r} is in an App or a group already: add to it before it is put there")
        for form in forms:
            match form:
                case Before():
                    self._before.append(form)
                case After():
                    self._after.append(form)
                case Errors():
                    if self._errors is not None:
                        raise RouteError(f"{self!r} has errors({self._errors.label}) already; remove one of them")
                    self._errors = form
                case Bundle():
                    self.add(*form.forms)
                case Route() | Static() | Group() | OnStart() | OnStop():
                    self._check(form)
                    self._forms.append(form)
                case _:
                    raise RouteError(
                        f"{self!r}: {form!r} cannot stand in a group; routes, before, after, errors, static, on_start, "
                        "on_stop and groups can"
                    )

    def _check(self, form: "Route | Static | Group | OnStart | OnStop") -> None:
        """RouteError where it cannot work below this prefix, or beside the earlier routes of this group."""
        placed: Iterable[Flat] = ()
        if isinstance(form, (Route, Static)):
            placed = (form.placed(self.prefix, None),)
        elif isinstance(form, Group):
            placed = form.unfold(self.prefix)
        for one in placed:
            if isinstance(one, Route) and one.pattern:  # "" is right where a group around gives it a prefix
                self._checked.add(one)

    def unfold(self, prefix: str = "", outer: Endpoint | None = None) -> Iterator[Flat]:
        """Its forms, below the prefix of the groups around it and inside their scope."""
        self._placed = True
        whole = prefix + self.prefix
        chain = make_chain(outer, self._before, self._after, self._errors)
        parts = _parse_prefix(whole)
        scope = Endpoint((), whole, parts, None, chain=chain, is_scope=True)
        inside = None if chain is None else scope
        if whole:
            yield scope
        for form in self._forms:
            if isinstance(form, Group):
                yield from form.unfold(whole, scope)
            elif isinstance(form, (Route, Static)):
                yield form.placed(whole, inside)
            else:
                yield form


def _parse_prefix(prefix: object) -> tuple[Part, ...]:
    if prefix == "":
        return ()
    if isinstance(prefix, str) and prefix.endswith("/"):
        raise RouteError(f"group({prefix!r}): a prefix does not end with '/': write {prefix.rstrip('/')!r}")
    if prefix == "*":
        raise RouteError("group('*'): '*' takes all that remains, and nothing can follow; for all paths write ''")
    parts = parse_pattern(prefix)  # type: ignore[arg-type]  # it says what is wrong with what is no text
    if parts[-1][0] == REST:
        raise RouteError(f"group({prefix!r}): '*' takes all that remains, and nothing can follow; leave it out")
    return parts


def group(prefix: str, *forms: Any) -> Group:
    """Forms below a prefix ("" for none; it may have captures), with hooks of their own. It nests.

    Its hooks run for what lies in it, and only for that: the App's before hooks first, then those of its groups from
    outside in, then the route's; after hooks the other way. RouteError tells what is wrong, where it is written.
    """
    return Group(prefix, *forms)
