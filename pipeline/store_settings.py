"""How an object store is reached: the address and the credentials, from the environment only.

What the AWS tools call by these names means the same here: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``,
``AWS_PROFILE`` with keys in its file; after them the roles of the machine or the container. Nothing
of it is ever part of a job, a plan, a manifest or a message.
"""

from __future__ import annotations

import os
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import ConfigError

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_WORDS = (*_PAIR, "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")
_STATIC = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
# A profile that says one of these has its credentials made by other programs.
_MADE = ("sso_session", "sso_start_url", "credential_process", "role_arn", "source_profile")


def allows_http() -> bool:
    """Whether the endpoint may be reached without TLS: on this machine, or where that was asked.

    Raises:
        ConfigError: if the endpoint is no address, or is http:// elsewhere and nobody asked.
    """
    name, endpoint = _endpoint()
    if endpoint is None:
        return False
    if endpoint.scheme not in ("http", "https") or not endpoint.hostname or endpoint.username:
        raise ConfigError(
            f"{name} must be http://host:port or https://host:port, without credentials, found "
            "another form; keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if endpoint.scheme == "https":
        return False
    asked = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    if not asked and not _is_loopback(endpoint.hostname):
        raise ConfigError(
            f"{name} must be https://, found http:// on another machine: what is sent could be "
            "read on the way; set AWS_ALLOW_HTTP=true if the network is yours"
        )
    return True


def require_whole_keys() -> None:
    """Refuse keys that cannot be sent, and half a pair of them.

    Raises:
        ConfigError: naming the variable; its value is not repeated.
    """
    for name in _WORDS:
        value = os.environ.get(name, "")
        if any(character.isspace() or not character.isprintable() for character in value):
            raise ConfigError(
                f"{name} must be one word, found a space or a line end in it; set it again"
            )
    given = [name for name in _PAIR if os.environ.get(name)]
    if len(given) == 1:
        lacking = _PAIR[1 - _PAIR.index(given[0])]
        raise ConfigError(f"{given[0]} needs {lacking} beside it, found none; set both or neither")


def address() -> str:
    """The host a message may name: the endpoint's, or what stands for AWS itself."""
    _, endpoint = _endpoint()
    if endpoint is None:
        return "AWS S3"
    port = f":{endpoint.port}" if endpoint.port else ""
    return f"{endpoint.hostname}{port}"


def from_profile() -> dict[str, str]:
    """Settings of the chosen profile that the environment does not give; empty without files.

    Raises:
        ConfigError: if AWS_PROFILE names no profile, or one whose keys another program makes.
    """
    chosen = os.environ.get("AWS_PROFILE")
    name = chosen or "default"
    keys = _section("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)
    more = _section("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}")
    facts = more | keys
    if chosen and not facts:
        raise ConfigError(
            f"AWS_PROFILE must name a profile of ~/.aws, found no {chosen!a}; check its name"
        )
    found = {}
    if not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys() and "region" in facts:
        found["region"] = facts["region"]
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return found
    if "aws_access_key_id" not in facts and any(key in facts for key in _MADE):
        raise ConfigError(
            f"profile {name!a} must hold keys, found single sign-on, a role or a program; "
            f'run eval "$(aws configure export-credentials --profile {name} --format env)"'
        )
    return found | {ours: facts[theirs] for theirs, ours in _STATIC.items() if theirs in facts}


def _endpoint() -> tuple[str, SplitResult | None]:
    for name in _ENDPOINTS:
        if value := os.environ.get(name):
            try:
                parts = urlsplit(value)
                _ = parts.port
            except ValueError:
                parts = urlsplit("")
            return name, parts
    return _ENDPOINTS[-1], None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _section(variable: str, file: str, name: str) -> dict[str, str]:
    path = Path(os.environ.get(variable) or Path("~/.aws", file).expanduser())
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read as a file of the AWS tools; repair it") from None
    return dict(parser[name]) if parser.has_section(name) else {}
