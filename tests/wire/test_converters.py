"""The kinds of field that no message of ours has today, in a message made for the test."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

import betterproto2
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from stigmer.wire import converters, descriptors
from stigmer.wire.converters import Converters


@dataclass(eq=False, repr=False)
class Probe(betterproto2.Message):
    """As betterproto2 would generate it."""

    as_: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    ratio: float = betterproto2.field(2, betterproto2.TYPE_FLOAT)
    big: int | None = betterproto2.field(3, betterproto2.TYPE_UINT64, optional=True)
    times: list[int] = betterproto2.field(4, betterproto2.TYPE_SINT64, repeated=True)  # noqa: RUF009 - generated so
    span: dt.timedelta | None = betterproto2.field(5, betterproto2.TYPE_MESSAGE, optional=True)  # noqa: RUF009 - as above
    flags: dict[int, bool] = betterproto2.field(  # noqa: RUF009 - as above
        6,
        betterproto2.TYPE_MAP,
        map_meta=betterproto2.map_meta(betterproto2.TYPE_INT64, betterproto2.TYPE_BOOL),
    )


def probe_file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="probe.proto", package="probe", syntax="proto3")
    file.dependency.append("google/protobuf/duration.proto")
    message = file.message_type.add(name="Probe")
    message.oneof_decl.add(name="_big")
    one, many = Field.LABEL_OPTIONAL, Field.LABEL_REPEATED
    message.field.add(name="as", number=1, type=Field.TYPE_STRING, label=one)
    message.field.add(name="ratio", number=2, type=Field.TYPE_FLOAT, label=one)
    message.field.add(name="big", number=3, type=Field.TYPE_UINT64, label=one, oneof_index=0, proto3_optional=True)
    message.field.add(name="times", number=4, type=Field.TYPE_SINT64, label=many)
    span = ".google.protobuf.Duration"
    message.field.add(name="span", number=5, type=Field.TYPE_MESSAGE, label=one, type_name=span)
    entry = message.nested_type.add(name="FlagsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_INT64, label=one)
    entry.field.add(name="value", number=2, type=Field.TYPE_BOOL, label=one)
    flags = ".probe.Probe.FlagsEntry"
    message.field.add(name="flags", number=6, type=Field.TYPE_MESSAGE, label=many, type_name=flags)
    return file


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> converters.Converter:
    pool = DescriptorPool()
    pool.AddSerializedFile(descriptors.POOL.FindFileByName("google/protobuf/duration.proto").serialized_pb)
    pool.Add(probe_file())
    kind = pool.FindMessageTypeByName("probe.Probe")
    monkeypatch.setattr(descriptors, "descriptor", lambda _: kind)
    monkeypatch.setattr(descriptors, "message_class", lambda _: message_factory.GetMessageClass(kind))
    monkeypatch.setattr(converters, "object_class", lambda _: Probe)
    return Converters().of("probe.Probe")


def back(converter: converters.Converter, message: Probe) -> Any:
    wire = converter.wire_class()
    converter.write(wire, message)
    return converter.read(converter.wire_class.FromString(wire.SerializeToString()))


@pytest.mark.parametrize(
    "message",
    [
        Probe(),
        Probe(as_="a word of Python"),
        Probe(ratio=0.5),
        Probe(big=0),
        Probe(big=(1 << 64) - 1),
        Probe(times=[-(1 << 63), 0, (1 << 63) - 1]),
        Probe(span=dt.timedelta()),
        Probe(span=dt.timedelta(days=-1, microseconds=-1)),
        Probe(flags={-1: True, 1: False}),
    ],
)
def test_a_field_of_each_kind_survives(converter: converters.Converter, message: Probe) -> None:
    assert back(converter, message) == message


def test_a_negative_zero_is_no_default(converter: converters.Converter) -> None:
    assert math.copysign(1, back(converter, Probe(ratio=-0.0)).ratio) == -1


WRONG_KEY: Any = {"a": True}
WRONG_VALUE: Any = {1: 1}


@pytest.mark.parametrize(
    "message", [Probe(big=-1), Probe(times=[1 << 63]), Probe(flags=WRONG_KEY), Probe(flags=WRONG_VALUE)]
)
def test_a_value_that_does_not_fit_is_refused(converter: converters.Converter, message: Probe) -> None:
    with pytest.raises((TypeError, ValueError)):
        converter.write(converter.wire_class(), message)
