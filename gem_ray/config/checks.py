"""Refusing impossible settings."""

from __future__ import annotations

from gem_ray.errors import ConfigError


def check(condition: bool, message: str) -> None:
    """Raise ``ConfigError`` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of the allowed ones, naming them."""
    check(value in allowed, f"{name}={value!r} is not known; choose one of {', '.join(allowed)}")
