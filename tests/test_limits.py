"""web.limits: the defaults, what is refused, and that a Limits is a value."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from web.limits import Limits


def test_defaults_are_on() -> None:
    limits = Limits()
    assert (limits.request_line, limits.field, limits.fields, limits.field_count) == (8192, 8192, 32768, 100)
    assert (limits.body, limits.out_buffer) == (1 << 20, 1 << 20)
    assert (limits.connections, limits.handshakes) == (10_000, 1024)
    off = {field.name for field in fields(limits) if not getattr(limits, field.name)}
    assert off == {"requests_per_connection", "shutdown_delay"}


def test_is_frozen_and_keyword_only() -> None:
    limits = Limits(body=5)
    with pytest.raises(FrozenInstanceError):
        limits.body = 6  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(8192)  # type: ignore[call-arg]
    assert limits == Limits(body=5) != Limits(body=6)
    assert hash(limits) == hash(Limits(body=5))
    assert replace(limits, body=0).body == 0


@pytest.mark.parametrize("field", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [-1, "10", None, True, float("nan"), float("inf"), 2**60])
def test_bad_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({field}="):
        Limits(**{field: value})


@pytest.mark.parametrize("field", ["request_line", "field", "field_count", "connections", "handshakes", "idle_timeout"])
def test_zero_is_refused_where_it_would_turn_everything_off(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: 0})


@pytest.mark.parametrize("field", ["body_min_rate", "response_min_rate", "requests_per_connection", "shutdown_grace"])
def test_zero_has_a_meaning(field: str) -> None:
    assert getattr(Limits(**{field: 0}), field) == 0


def test_one_field_may_not_exceed_all() -> None:
    with pytest.raises(ValueError, match="raise fields"):
        Limits(field=40_000)
    assert Limits(field=40_000, fields=40_000).field == 40_000


def test_whole_numbers_are_whole() -> None:
    with pytest.raises(ValueError, match=r"body=1\.5"):
        Limits(body=1.5)  # type: ignore[arg-type]
    assert Limits(idle_timeout=5).idle_timeout == 5
