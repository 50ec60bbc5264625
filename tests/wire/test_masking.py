from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2

from stigmer.wire.masking import MARK, mask, mask_messages, masked

if TYPE_CHECKING:
    from google.protobuf.message import Message

SECRET = "hunter2-canary"
Type = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="t", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/any.proto"])
    value = file.message_type.add(name="Value")
    value.field.add(name="value", number=1, type=Type.TYPE_STRING, label=1)
    value.field.add(name="is_secret", number=2, type=Type.TYPE_BOOL, label=1)
    value.field.add(name="description", number=3, type=Type.TYPE_STRING, label=1)
    phase = file.enum_type.add(name="Phase")
    phase.value.add(name="NONE", number=0)
    phase.value.add(name="DONE", number=1)
    holder = file.message_type.add(name="Holder")
    entry = holder.nested_type.add(name="EnvEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Type.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=Type.TYPE_MESSAGE, label=1, type_name=".t.Value")
    holder.field.add(name="env", number=1, type=Type.TYPE_MESSAGE, label=3, type_name=".t.Holder.EnvEntry")
    holder.field.add(name="values", number=2, type=Type.TYPE_MESSAGE, label=3, type_name=".t.Value")
    holder.field.add(name="callback_token", number=3, type=Type.TYPE_BYTES, label=1)
    holder.field.add(name="digest", number=4, type=Type.TYPE_BYTES, label=1)
    holder.field.add(name="phase", number=5, type=Type.TYPE_ENUM, label=1, type_name=".t.Phase")
    holder.field.add(name="at", number=6, type=Type.TYPE_MESSAGE, label=1, type_name=".google.protobuf.Timestamp")
    holder.field.add(name="packed", number=7, type=Type.TYPE_MESSAGE, label=1, type_name=".google.protobuf.Any")
    holder.field.add(name="tags", number=8, type=Type.TYPE_STRING, label=3)
    holder.field.add(name="count", number=9, type=Type.TYPE_INT64, label=1)
    return file


def _classes() -> tuple[Any, Any]:
    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, any_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(proto)
        pool.Add(proto)
    pool.Add(_file())
    get = message_factory.GetMessageClass
    return get(pool.FindMessageTypeByName("t.Value")), get(pool.FindMessageTypeByName("t.Holder"))


Value, Holder = _classes()


def secret() -> Message:
    message: Message = Value(value=SECRET, is_secret=True, description="d")
    return message


def test_a_secret_value_shows_as_the_mark() -> None:
    assert masked(secret()) == {"value": MARK, "is_secret": True, "description": "d"}


def test_a_value_that_is_not_secret_shows() -> None:
    assert masked(Value(value="plain")) == {"value": "plain"}


def test_an_empty_secret_shows_as_the_mark_too() -> None:
    assert masked(Value(is_secret=True)) == {"is_secret": True, "value": MARK}


def test_secrets_in_maps_and_lists_and_tokens_are_masked() -> None:
    message = Holder(env={"K": secret(), "L": Value(value="v")}, values=[secret()], callback_token=SECRET.encode())
    shown = masked(message)
    assert isinstance(shown, dict)
    assert shown["env"] == {"K": masked(secret()), "L": {"value": "v"}}
    assert shown["values"] == [masked(secret())]
    assert set(shown) == {"env", "values"}
    assert SECRET not in repr(shown)
    assert SECRET.encode() in message.SerializeToString()  # what is masked is a copy


def test_other_fields_show_in_a_plain_form() -> None:
    message = Holder(digest=b"\x00\x01", phase=1, tags=["a"], count=2**40)
    message.at.FromJsonString("2026-01-02T03:04:05Z")
    assert masked(message) == {
        "digest": "AAE=",
        "phase": "DONE",
        "at": "2026-01-02T03:04:05Z",
        "tags": ["a"],
        "count": str(2**40),
    }


def test_an_enum_value_without_a_name_shows_as_its_number() -> None:
    assert masked(Holder(phase=9)) == {"phase": 9}


def test_a_packed_message_does_not_show() -> None:
    message = Holder()
    message.packed.type_url = "type.googleapis.com/t.Value"
    message.packed.value = secret().SerializeToString()
    assert masked(message) == {"packed": {}}
    assert masked(any_pb2.Any(value=b"x")) == {}


def test_well_known_types_take_their_json_form() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": 1})
    assert masked(struct) == {"a": 1.0}
    assert masked(timestamp_pb2.Timestamp(seconds=0)) == "1970-01-01T00:00:00Z"


def test_unknown_fields_do_not_show() -> None:
    message = Value()
    message.ParseFromString(Holder(digest=SECRET.encode(), count=1).SerializeToString())
    assert SECRET not in repr(masked(message))


@dataclasses.dataclass
class Call:
    request: Message
    hidden: str = dataclasses.field(default=SECRET, repr=False)


@pytest.mark.parametrize(
    "nested",
    [
        secret(),
        [secret()],
        (secret(),),
        {"a": {"b": [secret()]}},
        {("k", 1): secret()},
        Call(secret()),
        [Call(secret())],
    ],
)
def test_messages_are_masked_wherever_they_hide_in_a_log_line(nested: object) -> None:
    line = mask_messages(None, "info", {"event": "e", "n": 1, "x": nested})
    assert SECRET not in repr(line)
    assert MARK in repr(line)
    assert (line["event"], line["n"]) == ("e", 1)


def test_a_structure_that_holds_itself_ends() -> None:
    loop: list[object] = [secret()]
    loop.append(loop)
    assert SECRET not in repr(mask(loop))


def test_bytes_show_as_their_number() -> None:
    assert mask([secret().SerializeToString(), bytearray(2), memoryview(b"abc")]) == [
        "<21 bytes>",
        "<2 bytes>",
        "<3 bytes>",
    ]


def test_other_objects_stay_what_they_are() -> None:
    thing = object()
    assert mask(thing) is thing


def test_generated_dataclasses_are_masked() -> None:
    from stigmer._gen.ai.stigmer.agentic.executioncontext import v1

    context = v1.ExecutionContext(
        spec=v1.ExecutionContextSpec(
            execution_id="aex-1",
            data={"K": v1.ExecutionValue(value=SECRET, is_secret=True), "L": v1.ExecutionValue(value="plain")},
        )
    )
    assert SECRET in repr(context)
    assert masked(context) == {
        "spec": {"execution_id": "aex-1", "data": {"K": {"value": MARK, "is_secret": True}, "L": {"value": "plain"}}}
    }
    assert SECRET not in repr(mask([context]))


def test_a_generated_dataclass_that_cannot_be_encoded_shows_its_type_alone() -> None:
    from stigmer._gen.ai.stigmer.agentic.executioncontext import v1

    broken = v1.ExecutionValue(value=SECRET, is_secret=17)  # type: ignore[arg-type]  # ill-formed on purpose
    broken.description = object()  # type: ignore[attr-defined]  # ill-formed on purpose
    broken.value = {"no": SECRET}  # type: ignore[assignment]  # ill-formed on purpose
    assert mask(broken) == "<ExecutionValue>"
