"""The token: who gets in, where it lies, and that it is told to nobody."""

from __future__ import annotations

import hmac
import logging
import stat

import pytest

from gem_ray.errors import ConfigError
from gem_ray.gateway.auth import Token, find_token

SECRET = "0123456789abcdef-secret"


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER  {SECRET} "])
def test_the_right_token_is_accepted(header):
    assert Token(secret=SECRET, place="here").accepts(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        SECRET,
        f"Basic {SECRET}",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}x",
        "Bearer é",
    ],
)
def test_anything_else_is_not(header):
    assert not Token(secret=SECRET, place="here").accepts(header)


def test_every_comparison_is_one_of_two_digests_in_constant_time(monkeypatch):
    seen = []
    compare = hmac.compare_digest
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: seen.append((len(a), len(b))) or compare(a, b))
    token = Token(secret=SECRET, place="here")
    for header in (
        None,
        "",
        "Basic x",
        "Bearer x",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}",
        "Bearer " + "x" * 9999,
    ):
        token.accepts(header)
    assert seen == [(32, 32)] * 7


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
    token = find_token(None, environment)
    path = tmp_path / "state" / "gem_ray" / "token"
    assert token.place == str(path)
    assert len(token.secret) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert find_token(None, environment) == token
    assert find_token(str(tmp_path / "other"), environment).secret != token.secret


def test_the_environment_goes_first(tmp_path):
    token = find_token(str(tmp_path / "token"), {"GEM_RAY_TOKEN": SECRET})
    assert token.secret == SECRET
    assert not (tmp_path / "token").exists()


def test_a_token_file_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0o640)
    with pytest.raises(ConfigError, match=r"token \(mode 640\).*delete it"):
        find_token(str(tmp_path / "token"), {})


@pytest.mark.parametrize("secret", ["", "short", "x" * 15, "with a blank in the middle", "ü" * 20, "line\nbreak" * 3])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path, secret):
    with pytest.raises(ConfigError, match="must have 16 or more") as refused:
        find_token(None, {"GEM_RAY_TOKEN": secret})
    assert not secret or secret not in str(refused.value)
    (tmp_path / "token").write_text(secret)
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(ConfigError, match="must have 16 or more"):
        find_token(str(tmp_path / "token"), {})


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text(SECRET)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be used"):
        find_token(str(tmp_path / "token"), {})


def test_a_folder_that_cannot_be_written_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"gateway\.token_file"):
        find_token(str(tmp_path / "file" / "token"), {})


def test_a_token_does_not_show_in_its_repr_or_in_the_log(caplog):
    token = Token(secret=SECRET, place="here")
    with caplog.at_level(logging.DEBUG):
        token.accepts(f"Bearer {SECRET}")
    assert SECRET not in repr(token) + str(token) + caplog.text
