"""What lists are filtered by: each filter is a field of the request, and what it asks for of the resources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from stigmer.errors import Violation
from stigmer.pipeline.kind import key_value
from stigmer.steps import label_selector
from stigmer.store.rows import Through

if TYPE_CHECKING:
    from stigmer.store.rows import Query


@dataclass(frozen=True, slots=True)
class Filter(ABC):
    """What a request's field asks for.

    Attributes:
        field: the request's field.
    """

    field: str

    @abstractmethod
    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """The query with this filter's condition, where the request sets the field."""

    def violations(self, request: Any) -> list[Violation]:  # noqa: ANN401 - as above; filters have rules of their own
        """What is wrong with the field itself."""
        del request
        return []

    def asked(self, request: Any) -> list[str]:  # noqa: ANN401 - as above
        """What the field asks for, in an order of its own; empty where it is not set."""
        return _values(getattr(request, self.field))


@dataclass(frozen=True, slots=True)
class Is(Filter):
    """The resource's field at `path` is the request's `field`."""

    path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add the condition; an unset field asks for nothing."""
        value = getattr(request, self.field)
        return replace(query, keys=(*query.keys, (self.path, key_value(value)))) if value else query


@dataclass(frozen=True, slots=True)
class HasAll(Filter):
    """The resource's field at `path` has every value of the request's `field`."""

    path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add a condition for each value."""
        wanted = tuple((self.path, value) for value in self.asked(request))
        return replace(query, keys=(*query.keys, *wanted))


@dataclass(frozen=True, slots=True)
class IsOrHasParent(Filter):
    """The resource's field at `path` is the request's `field`, or names a `kind` whose field at `parent_path` is."""

    path: str
    kind: str
    parent_path: str

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add the join."""
        value = getattr(request, self.field)
        return replace(query, through=Through(self.path, value, self.kind, (self.parent_path, value)))


@dataclass(frozen=True, slots=True)
class Selects(Filter):
    """The resource's labels fit the selector that the request's `field` is."""

    def narrow(self, query: Query, request: Any) -> Query:  # noqa: ANN401 - each list has a request type
        """Add the conditions of its terms."""
        return label_selector.parsed(getattr(request, self.field)).narrow(query)

    def violations(self, request: Any) -> list[Violation]:  # noqa: ANN401 - as above
        """Where the text is no selector."""
        try:
            label_selector.parsed(getattr(request, self.field))
        except label_selector.SelectorError as error:
            return [Violation(self.field, str(error))]
        return []


def _values(wanted: Any) -> list[str]:  # noqa: ANN401 - a field of any list's request
    """What a filter's field asks for, in an order of its own; empty where it is not set."""
    if isinstance(wanted, list):
        return sorted(set(cast("list[str]", wanted)))
    return [key_value(wanted)] if wanted else []
