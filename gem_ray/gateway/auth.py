"""The bearer token of the gateway: where it comes from, and how one that is presented is compared with it.

A token is never logged, never part of a message and never on a command line.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gem_ray.errors import ConfigError

VARIABLE = "GEM_RAY_TOKEN"
SHORTEST = 16
SCHEME = "bearer"


@dataclass(frozen=True, kw_only=True)
class Token:
    """A secret and where a person finds it; the secret stays out of ``repr``."""

    secret: str = field(repr=False)
    place: str

    def accepts(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header carries this token.

        The time it takes does not depend on how much of the token is right: digests of equal length are compared, in
        constant time, also where no token was presented at all.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        same = hmac.compare_digest(_digest(presented.strip()), _digest(self.secret))
        return same and scheme.lower() == SCHEME


def find_token(token_file: str | None, environment: Mapping[str, str] = os.environ) -> Token:
    """The token of GEM_RAY_TOKEN, else of the file, which is made where it is missing.

    Args:
        token_file: None takes ``gem_ray/token`` in the user's state folder (XDG_STATE_HOME, or ~/.local/state)

    Raises:
        ConfigError: a token that is too short to be one, or a file that others can read or that cannot be used
    """
    if VARIABLE in environment:
        return Token(secret=_checked(environment[VARIABLE], VARIABLE), place=f"the environment variable {VARIABLE}")
    state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(token_file).expanduser() if token_file else Path(state) / "gem_ray" / "token"
    try:
        secret = _make(path) or _read(path)
    except OSError as error:
        raise ConfigError(
            f"the token file {path} cannot be used ({error.strerror}): set gateway.token_file to a file of yours, or "
            f"the token itself in {VARIABLE}"
        ) from error
    return Token(secret=secret, place=str(path))


def _make(path: Path) -> str | None:
    """A new token in a new file that only its owner reads; None where there is a file already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = secrets.token_urlsafe(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return secret


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise ConfigError(
                f"others can use the token file {path} (mode {mode:o}), so its token may be known: delete it, and a "
                "new one is made, or give it mode 600 if you know better"
            )
        content = file.read(4096)
    return _checked(content.decode("ascii", errors="replace").strip(), str(path))


def _checked(secret: str, place: str) -> str:
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(
            f"the token in {place} must have {SHORTEST} or more printable ASCII characters and no blanks: make one "
            "with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return secret


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).digest()
