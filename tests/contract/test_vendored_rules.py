"""protos/buf/validate/validate.proto is the file that the installed protovalidate was made of."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from protovalidate._gen.buf.validate import validate_pb

from stigmer.wire import descriptors


def test_the_rules_are_those_that_protovalidate_knows() -> None:
    """But for the options that name packages in other languages."""
    ours = FileDescriptorProto.FromString(descriptors.file_bytes("buf/validate/validate.proto"))
    theirs = FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    for file in (ours, theirs):
        file.ClearField("options")
        file.ClearField("source_code_info")
    assert ours == theirs
