"""The definitions of a Feast repository for published vectors: a Python file, and its objects.

Feast deletes from its registry what no file of the repository defines, so that the file must be
there. It is not run to register what it defines: nothing of ours runs what it reads. The same
objects are made beside it, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from feast import Entity as FeastEntity
    from feast import FeatureView

HEAD = '"""Written by `parquet2vec publish`, which replaces this file: change nothing here."""'


class Entity(NamedTuple):
    """Who a vector is about: a key column; `known` if the repository defines it already."""

    name: str
    column: str
    value_type: str
    known: bool


class Feature(NamedTuple):
    """A column of numbers or vectors; `length` is that of a vector."""

    name: str
    length: int | None = None


@dataclass(frozen=True)
class Definition:
    """A feature view over a folder of Parquet files."""

    name: str
    path: str
    event_time: str
    entities: tuple[Entity, ...]
    features: tuple[Feature, ...]
    ttl_seconds: float
    tags: dict[str, str]

    def text(self) -> str:
        """The Python file."""
        return "\n".join([HEAD, "", *_IMPORTS, "", *self._lines(), ""])

    def objects(self) -> tuple[list[FeastEntity], FeatureView]:
        """The entities and the view that the file defines; not those that are known already."""
        from feast import Entity as FeastEntity
        from feast import FeatureView, Field, FileSource
        from feast.data_format import ParquetFormat
        from feast.types import Array, Float32
        from feast.value_type import ValueType

        entities = [
            FeastEntity(
                name=entity.name,
                join_keys=[entity.column],
                value_type=ValueType[entity.value_type],
                tags={} if entity.known else dict(OURS),
            )
            for entity in self.entities
        ]
        schema = [
            Field(name=feature.name, dtype=Float32)
            if feature.length is None
            else Field(name=feature.name, dtype=Array(Float32), vector_length=feature.length)
            for feature in self.features
        ]
        source = FileSource(
            name=self.name,
            path=self.path,
            timestamp_field=self.event_time,
            file_format=ParquetFormat(),
            tags=dict(OURS),
        )
        view = FeatureView(
            name=self.name,
            entities=entities,
            ttl=timedelta(seconds=self.ttl_seconds),
            schema=schema,
            source=source,
            tags=dict(self.tags),
        )
        pairs = zip(self.entities, entities, strict=True)
        return [made for entity, made in pairs if not entity.known], view

    def _lines(self) -> Iterator[str]:
        own = [entity for entity in self.entities if not entity.known]
        for place, entity in enumerate(own):
            yield f"entity_{place} = {_entity(entity)}"
        yield from ["", "source = FileSource("]
        yield f"    name={self.name!r},"
        yield f"    path={self.path!r},"
        yield f"    timestamp_field={self.event_time!r},"
        yield "    file_format=ParquetFormat(),"
        yield f"    tags={OURS!r},"
        yield from [")", "", "view = FeatureView("]
        yield f"    name={self.name!r},"
        yield "    entities=["
        for entity in self.entities:
            yield f"        {_entity(entity) if entity.known else f'entity_{own.index(entity)}'},"
        yield "    ],"
        yield f"    ttl=timedelta(seconds={self.ttl_seconds!r}),"
        yield "    schema=["
        yield from (f"        {_field(feature)}," for feature in self.features)
        yield "    ],"
        yield "    source=source,"
        yield "    tags={"
        yield from (f"        {name!r}: {value!r}," for name, value in self.tags.items())
        yield from ["    },", ")"]


OURS = {"made_by": "parquet2vec"}
_IMPORTS = (
    "from datetime import timedelta",
    "",
    "from feast import Entity, FeatureView, Field, FileSource",
    "from feast.data_format import ParquetFormat",
    "from feast.types import Array, Float32",
    "from feast.value_type import ValueType",
)


def _entity(entity: Entity) -> str:
    tags = "" if entity.known else f", tags={OURS!r}"
    return (
        f"Entity(name={entity.name!r}, join_keys=[{entity.column!r}], "
        f"value_type=ValueType.{entity.value_type}{tags})"
    )


def _field(feature: Feature) -> str:
    if feature.length is None:
        return f"Field(name={feature.name!r}, dtype=Float32)"
    return f"Field(name={feature.name!r}, dtype=Array(Float32), vector_length={feature.length})"
