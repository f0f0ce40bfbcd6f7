"""Clients of an object store: made once for all that determines them."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from pipeline.errors import ConfigError
from pipeline.store_settings import allows_http, from_profile, require_whole_keys

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

# A wrong address is told after some fifteen seconds; a server that restarts is waited for.
RETRIES = 6
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=0.5), timedelta(seconds=8)
_RETRYING = timedelta(seconds=60)
_CONNECTING = timedelta(seconds=5)


def connect(bucket: str, seconds: int) -> S3Store:
    """A client for `bucket` whose requests may take so many seconds each.

    Raises:
        ConfigError: if the environment does not say how to reach the store, or says it wrongly.
    """
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _connect(bucket, seconds, settings)


@lru_cache(maxsize=16)
def _connect(bucket: str, seconds: int, settings: tuple[tuple[str, str], ...]) -> S3Store:
    """A client for these settings: it holds a pool of connections."""
    del settings
    try:
        from obstore.store import S3Store
    except ImportError:
        raise ConfigError(
            "s3:// needs the package obstore, found none; pip install 'parquet2vec[s3]'"
        ) from None
    require_whole_keys()
    known, options = cast("S3Config", from_profile()), _options(seconds)
    try:
        return S3Store(bucket, config=known, client_options=options, retry_config=_retries())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"an AWS_ setting cannot be used ({reason}); set it again") from None


def _options(seconds: int) -> ClientConfig:
    return {
        "allow_http": allows_http(),
        "connect_timeout": _CONNECTING,
        "timeout": timedelta(seconds=seconds),
    }


def _retries() -> RetryConfig:
    return {
        "max_retries": RETRIES,
        "retry_timeout": _RETRYING,
        "backoff": {"init_backoff": _FIRST_WAIT, "max_backoff": _LONGEST_WAIT, "base": 3},
    }
