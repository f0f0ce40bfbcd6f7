"""Every error this product raises on purpose, branched by who must act.

::

    Parquet2VecError               exit code 1
    ├── ConfigError                2   whoever wrote the command line or the project file
    ├── SchemaError                3   whoever owns the table: columns, kinds, roles
    ├── DataError                  3   whoever owns the file: its bytes or its values
    ├── BundleError                3   whoever ships the model
    ├── ParityError                1   whoever trained the model: torch and ONNX disagree
    ├── StoreError                 1   whoever runs the object store: it does not answer
    ├── ServerError                1   whoever runs the Prefect server: it does not answer
    └── PublishError               1   whoever runs the job: disk, permissions
        ├── DestinationError       3   the folder is not ours, or is of a newer format
        └── LockedError            4   another run holds the destination

A message says what was required, what was found and what to do. Errors of Arrow and ONNX Runtime
are translated where they arise; none leaves this package. Names of files and columns come from
outside: whatever in them would steer a terminal or break a line of a log stands escaped.
"""

from __future__ import annotations

from typing import ClassVar


def printable(text: str) -> str:
    r"""`text` on one line, with escapes for whatever is not printed.

    >>> printable("é \x1b[2J\u202egpj.exe")
    'é \\x1b[2J\\u202egpj.exe'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Parquet2VecError(Exception):
    """Root of all errors; ``exit_code`` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigError(Parquet2VecError):
    """A command line, project file or parameter asks for something that cannot be."""

    exit_code: ClassVar[int] = 2


class SchemaError(Parquet2VecError):
    """A table does not have the columns, kinds or roles that are required."""

    exit_code: ClassVar[int] = 3


class DataError(Parquet2VecError):
    """A file cannot be read, or holds values that its schema does not allow."""

    exit_code: ClassVar[int] = 3


class BundleError(Parquet2VecError):
    """A bundle is missing, damaged, or written by a newer version."""

    exit_code: ClassVar[int] = 3


class ParityError(Parquet2VecError):
    """An exported model disagrees with the trained one, so no bundle was written."""


class StoreError(Parquet2VecError, ConnectionError):
    """An object store does not answer; the same command may do when it is back."""


class ServerError(Parquet2VecError):
    """A Prefect server does not answer; the same command may do when it is back."""


class PublishError(Parquet2VecError):
    """A result could not be published; what was published before is untouched."""


class DestinationError(PublishError):
    """A destination folder is not ours, or is of a newer format."""

    exit_code: ClassVar[int] = 3


class LockedError(PublishError):
    """Another run holds the destination."""

    exit_code: ClassVar[int] = 4
