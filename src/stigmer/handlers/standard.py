"""The steps that kinds share. A kind's file names these, and writes out the ones of its own."""

from __future__ import annotations

import betterproto2

from stigmer._gen.ai.stigmer.commons.apiresource import ApiResourceReference
from stigmer.pipeline.kind import Resource
from stigmer.pipeline.pipeline import Steps
from stigmer.steps.build_new_state import BuildNewState
from stigmer.steps.build_update_state import BuildUpdateState
from stigmer.steps.check_duplicate import CheckDuplicate
from stigmer.steps.delete import DeleteResource, ExtractResourceId, LoadExistingForDelete
from stigmer.steps.load_by_reference import LoadByReference
from stigmer.steps.load_existing import LoadExisting
from stigmer.steps.load_for_apply import LoadForApply, ThenCreate
from stigmer.steps.load_target import ById, LoadTarget
from stigmer.steps.persist import Persist
from stigmer.steps.resolve_slug import ResolveSlug
from stigmer.steps.validate_proto import ValidateProto

CREATE = Steps(Resource, ValidateProto(), ResolveSlug(), CheckDuplicate(), BuildNewState(), Persist())
UPDATE = Steps(Resource, ValidateProto(keeps_fixed=True), ResolveSlug(), LoadExisting(), BuildUpdateState(), Persist())
APPLY = Steps(Resource, ValidateProto(keeps_fixed=True), ResolveSlug(), LoadForApply(), ThenCreate(or_else="update"))
DELETE = Steps(betterproto2.Message, ValidateProto(), ExtractResourceId(), LoadExistingForDelete(), DeleteResource())
GET = Steps(ById, ValidateProto(), LoadTarget())
GET_BY_REFERENCE = Steps(ApiResourceReference, ValidateProto(), LoadByReference())
