"""What a file says beside its network: texts by name, such as normalisation and class names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.export.errors import ModelFileError


def onnx_with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """An ``.onnx`` file with these ``metadata_props`` as well; the same bytes where there are none."""
    if not metadata:
        return data
    import onnx

    model = onnx.load_from_string(data)
    for name, text in _checked("onnx", metadata):
        model.metadata_props.add(key=name, value=text)
    with_metadata: bytes = model.SerializeToString(deterministic=True)
    return with_metadata


def onnx_metadata(data: bytes) -> dict[str, str]:
    """What ``onnx_with_metadata`` put into a file."""
    import onnx

    return {prop.key: prop.value for prop in onnx.load_from_string(data).metadata_props}


def tflite_with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A ``.tflite`` file with these entries of ``Model.metadata`` as well, each a buffer of UTF-8 text."""
    if not metadata:
        return data
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    model.metadata = model.metadata or []
    for name, text in _checked("tflite", metadata):
        entry, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = list(text.encode())
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tflite_metadata(data: bytes) -> dict[str, str]:
    """What ``tflite_with_metadata`` put into a file; entries that are no UTF-8 text are left out."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    texts = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        buffer = model.Buffers(entry.Buffer())
        content = bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""
        try:
            texts[entry.Name().decode()] = content.decode()
        except UnicodeDecodeError:
            continue
    return texts


def _checked(file_format: str, metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            raise ModelFileError(f"{file_format}: metadata are texts by name, not {name!r}: {text!r}")
    return sorted(metadata.items())
