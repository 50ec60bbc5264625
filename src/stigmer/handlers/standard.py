"""The step lists that kinds share. A kind's file names these, and writes out the ones of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.build_update_state import BuildUpdateState
from stigmer.steps.check_duplicate import CheckDuplicate
from stigmer.steps.delete import DeleteResource, ExtractResourceId, LoadExistingForDelete
from stigmer.steps.load_by_reference import LoadByReference
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.load_target import LoadTarget
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto

if TYPE_CHECKING:
    from stigmer.pipeline.pipeline import Step

Steps = tuple["Step", ...]

CREATE: Steps = (ValidateProto(), ResolveSlug(), CheckDuplicate(), BuildNewState(), Persist())
UPDATE: Steps = (ValidateProto(keeps_fixed=True), ResolveSlug(), LoadExisting(), BuildUpdateState(), Persist())
APPLY: Steps = (ValidateProto(keeps_fixed=True), ResolveSlug(), LoadForApply(), ThenCreate(or_else="update"))
DELETE: Steps = (ValidateProto(), ExtractResourceId(), LoadExistingForDelete(), DeleteResource())
GET: Steps = (ValidateProto(), LoadTarget())
GET_BY_REFERENCE: Steps = (ValidateProto(), LoadByReference())
