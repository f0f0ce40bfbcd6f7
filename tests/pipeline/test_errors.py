import inspect

import pytest

from pipeline import errors


def test_every_error_has_the_root_and_a_documented_exit_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    found = {c.__name__: c.exit_code for c in classes if issubclass(c, Exception)}
    assert all(issubclass(c, errors.Parquet2VecError) for c in classes)
    assert found == {
        "Parquet2VecError": 1,
        "ServerError": 1,
        "ConfigError": 2,
        "SchemaError": 3,
        "DataError": 3,
        "BundleError": 3,
        "ParityError": 1,
        "StoreError": 1,
        "PublishError": 1,
        "DestinationError": 3,
        "LockedError": 4,
    }


@pytest.mark.parametrize("name", ["DestinationError", "LockedError"])
def test_what_stops_publishing_is_a_publish_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.PublishError)
