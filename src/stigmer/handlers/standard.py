"""The steps that kinds share. A kind's file names these, and writes out the ones of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import betterproto2

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.pipeline.kind import ORGANIZATION, TAGS, Resource
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.build_update_state import BuildUpdateState
from stigmer.steps.check_duplicate import CheckDuplicate
from stigmer.steps.delete import DeleteResource, ExtractResourceId, LoadExistingForDelete
from stigmer.steps.list_filters import HasAll, Is, Selects
from stigmer.steps.list_resources import ByToken, List
from stigmer.steps.load_by_reference import LoadByReference
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.load_target import ById, LoadTarget
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto

if TYPE_CHECKING:
    from stigmer.steps.list_filters import Filter

CREATE = Steps(Resource, ValidateProto(), ResolveSlug(), CheckDuplicate(), BuildNewState(), Persist())
UPDATE = Steps(Resource, ValidateProto(keeps_fixed=True), ResolveSlug(), LoadExisting(), BuildUpdateState(), Persist())
APPLY = Steps(Resource, ValidateProto(keeps_fixed=True), ResolveSlug(), LoadForApply(), ThenCreate(or_else="update"))
DELETE = Steps(betterproto2.Message, ValidateProto(), ExtractResourceId(), LoadExistingForDelete(), DeleteResource())
GET = Steps(ById, ValidateProto(), LoadTarget())
GET_BY_REFERENCE = Steps(ApiResourceReference, ValidateProto(), LoadByReference())


def lists(request: type[ByToken], reply: type[betterproto2.Message], *filters: Filter) -> Steps[Resource]:
    """The steps of a list of all resources of a kind; `filters` are of that kind alone."""
    usual = (HasAll("tags", TAGS), Is("org", ORGANIZATION), Selects("label_selector"))
    return Steps(request, ValidateProto(), List(reply, *filters, *usual))
