"""What a column and a table are, and how the type and unit of a column follow from a dataclass
field.

Which tables and columns there are is said in `orchestrator.results.schema`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError

TEXT, WHOLE, SMALL, REAL, FLAG = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
STRETCHES = pa.list_(pa.struct([("name", TEXT), ("from_step", WHOLE)]))
"""As `workers.result.DeviceStretch`."""


@dataclass(frozen=True)
class Column:
    """One column. `is_nullable`: null is "not measured" or "does not apply"; no value is ever NaN
    or infinite."""

    name: str
    type: pa.DataType
    meaning: str
    is_nullable: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """One table. A file of it is named for its rows' value of `key`; rows are in the order of
    `sort_by`."""

    name: str
    meaning: str
    key: str
    sort_by: tuple[str, ...]
    columns: tuple[Column, ...]

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """All columns, each with its unit and meaning as metadata."""
        return pa.schema(
            pa.field(
                column.name,
                column.type,
                column.is_nullable,
                {"unit": column.unit, "meaning": column.meaning},
            )
            for column in self.columns
        )

    def subset(self, names: Sequence[str] | None) -> pa.Schema:
        """The Arrow schema of the columns named, in that order; of all when `names` is None."""
        return (
            self.arrow_schema
            if names is None
            else pa.schema([self.arrow_schema.field(name) for name in names])
        )

    def build(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows, one mapping each with a value for every column, as an Arrow table.

        Raises:
            StoreError: a column is missing or unknown, a value has the wrong type, or is null, NaN
                or infinite where it must not be.
        """
        names = set(self.arrow_schema.names)
        for row in rows:
            if row.keys() != names:
                odd = ", ".join(sorted(row.keys() ^ names))
                raise StoreError(
                    f"{self.name}: {odd}: column missing or unknown; its columns are in "
                    "results/schema.py"
                )
        try:
            table = pa.Table.from_pylist([dict(row) for row in rows], schema=self.arrow_schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise StoreError(
                f"{self.name}: {error}; see its columns in results/schema.py"
            ) from error
        for column in self.columns:
            if column.type in (WHOLE, SMALL):
                self._refuse_parts(column, [row[column.name] for row in rows])
        self.check(table)
        return table

    def check(self, rows: pa.Table) -> None:
        """Refuse rows that are null, NaN or infinite where they must not be.

        Args:
            rows: with all columns, of the table's types.

        Raises:
            StoreError: the column and the value.
        """
        for column in self.columns:
            where, stored = f"{self.name}.{column.name}", rows[column.name]
            if stored.null_count and not column.is_nullable:
                raise StoreError(f"{where}: null; every row needs a value")
            if column.type == REAL:
                odd = stored.filter(pc.invert(pc.is_finite(stored)))
                if len(odd):
                    raise StoreError(
                        f"{where}: {odd[0].as_py()} is not stored; give a finite number, or null "
                        "for not measured"
                    )

    def _refuse_parts(self, column: Column, values: Sequence[Any]) -> None:
        if parts := [value for value in values if isinstance(value, float)]:
            raise StoreError(
                f"{self.name}.{column.name}: {parts[0]} is not a whole number, which pyarrow would "
                "cut off; give an integer"
            )


def arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """Find the Arrow type of a dataclass field.

    Args:
        annotation: of the field, such as `int | None`, `tuple[str, ...]` or a Literal of strings.

    Returns:
        The type, and whether the field may be None.
    """
    options = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    kind = next(option for option in options if option is not NoneType)
    if get_origin(kind) is tuple:
        return pa.list_(arrow_type(get_args(kind)[0])[0]), len(options) > 1
    if get_origin(kind) is Literal:
        kind = str
    return {str: TEXT, int: WHOLE, float: REAL, bool: FLAG}[kind], len(options) > 1


UNITS_BY_ENDING = {
    "_per_s": "1/s",
    "_s": "s",
    "_gib": "GiB",
    "_bytes": "bytes",
    "_every_steps": "steps",
    "_sparsity": "fraction",
    "_at": "UTC",
}


def unit_of(name: str) -> str:
    """The unit that a column's name ends in, by the project's naming rules; empty if none."""
    if name.startswith("num_") or "_num_" in name:
        return "count"
    return next((unit for ending, unit in UNITS_BY_ENDING.items() if name.endswith(ending)), "")


def type_name(kind: pa.DataType) -> str:
    """How the documentation names an Arrow type."""
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)
