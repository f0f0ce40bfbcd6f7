"""A Feast repository: what it knows already, and what `publish` adds to it.

Only what bears our mark is ever replaced: a feature view, a data source and entities by their tag,
a file by its first line. Feast's registry has no lock, so that ours is held by whoever publishes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.feast_definition import HEAD, OURS, Definition, Entity
from pipeline import storage
from pipeline.errors import ConfigError, Parquet2VecError, PublishError

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_CONFIG = "feature_store.yaml"
_NUMBERS = ("INT32", "INT64")


@dataclass(frozen=True)
class FeastRepository:
    """A folder with a ``feature_store.yaml``, and the stores that it names."""

    path: Path
    store: FeatureStore

    @classmethod
    def open(cls, path: Path) -> FeastRepository:
        """The repository at `path`.

        Raises:
            ConfigError: if Feast is not installed, or there is no repository.
        """
        if not (path / _CONFIG).is_file():
            raise ConfigError(
                f"{path} must be a Feast repository with a {_CONFIG}, found none; write one, or "
                "give the folder that has it"
            )
        try:
            from feast import FeatureStore
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"publishing to Feast needs {error.name}, not found; "
                "pip install 'parquet2vec[feast]'"
            ) from None
        with _translated(f"open {path}"):
            return cls(path, FeatureStore(repo_path=str(path)))

    @property
    def project(self) -> str:
        """The project's name."""
        return str(self.store.project)

    def file(self, name: str) -> Path:
        """The file that defines the feature view `name`, if we have written it."""
        return self.path / f"parquet2vec_{name}.py"

    def entity(self, column: str, value_type: str) -> Entity:
        """The entity whose key is `column`: one of the repository's own, or a new one of ours.

        Raises:
            ConfigError: if the repository's own has another type, or its name is taken.
        """
        with _translated("read the registry"):
            registered = self.store.list_entities()
        for one in registered:
            if one.join_key == column:
                found = one.value_type.name
                if not _same_kind(found, value_type):
                    raise ConfigError(
                        f"entity {one.name} of {self.path} must have type {value_type}, as column "
                        f"'{column}' has, found {found}; change it there"
                    )
                return Entity(one.name, column, found, known=not _is_ours(one.tags))
        if any(one.name == column for one in registered):
            raise ConfigError(
                f"entity {column} of {self.path} must have the join key '{column}', found another; "
                "add an entity with that join key to the repository"
            )
        return Entity(column, column, value_type, known=False)

    def view(self, name: str, *, path: str) -> FeatureView | None:
        """The feature view `name` as it is registered, if it is ours and over `path`.

        Raises:
            ConfigError: if the name belongs to something else.
        """
        with _translated("read the registry"):
            views = {one.name: one for one in self.store.list_all_feature_views()}
            sources = {one.name: one for one in self.store.list_data_sources()}
        view, source = views.get(name), sources.get(name)
        for what, found in (("feature view", view), ("data source", source)):
            if found is not None and not _is_ours(found.tags):
                raise ConfigError(
                    f"the name of the feature view must be free, found a {what} {name} in "
                    f"{self.path} that is not ours; give another --name"
                )
        if source is not None and getattr(source, "path", None) != path:
            raise ConfigError(
                f"feature view {name} of {self.path} must be over {path}, found it over another "
                "folder; give another --name, or delete it there"
            )
        return view  # type: ignore[return-value]  # our views are plain ones

    def apply(self, definition: Definition) -> None:
        """Write the definitions into the repository and register them, and nothing else.

        Raises:
            ConfigError: if the file is somebody else's.
            PublishError: if the registry or the online store does not take them.
        """
        path, text = self.file(definition.name), definition.text()
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before is not None and not before.startswith(HEAD):
            raise ConfigError(
                f"{path} must be a file that `parquet2vec publish` wrote, found another; move it "
                "away, or give another --name"
            )
        if before != text:
            storage.write_file(path, text.encode())
        with _translated("register the feature view"):
            entities, view = definition.objects()
            self.store.apply([*entities, view])

    def empty(self, view: FeatureView) -> None:
        """Drop what the online store holds of `view`.

        Raises:
            PublishError: if the online store does not do it.
        """
        with _translated("empty the online store"):
            for doomed, kept in (([view], []), ([], [view])):
                self.store.provider.update_infra(
                    project=self.project,
                    tables_to_delete=doomed,
                    tables_to_keep=kept,
                    entities_to_delete=[],
                    entities_to_keep=[],
                    partial=True,
                )

    def load(self, name: str, first: datetime, last: datetime) -> None:
        """Load the newest rows of every key between two event times into the online store.

        Raises:
            PublishError: if the table or the online store does not do its part.
        """
        with _translated("load the online store"):
            self.store.materialize(start_date=first, end_date=last, feature_views=[name])


def _is_ours(tags: dict[str, str]) -> bool:
    return OURS.items() <= tags.items()


def _same_kind(found: str, wanted: str) -> bool:
    return found in (wanted, "UNKNOWN") or {found, wanted} <= {*_NUMBERS}


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Feast's errors as ours, and what it prints on standard error: the output is ours."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Parquet2VecError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise PublishError(
            f"Feast could not {what}: {type(error).__name__}: {reason}; the vectors are published "
            "all the same, publish to Feast again"
        ) from error
