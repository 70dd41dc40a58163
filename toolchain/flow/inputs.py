"""The type of a build's input: as the user states it, as the file says it, or by its quantizer."""

from __future__ import annotations

from dataclasses import replace

from toolchain.errors import UserError
from toolchain.frontend.metadata import fits
from toolchain.frontend.read import ModelFile
from toolchain.ir.encode import input_quantizer, parted_quantizers, scaled_quantizer
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import MAX_INPUT_BITS, input_text, noted_input, parse_input, parse_scale
from toolchain.ir.types import Encoding, InputType


def stated_input(text: str | None, pixel_scale: str | None) -> InputType | None:
    """The type that ``--input`` or ``--pixel-scale`` states; None where neither is given.

    Raises:
        UserError: both are given, or one says no type.
    """
    if text is not None and pixel_scale is not None:
        raise UserError(
            "--input does not go with --pixel-scale", hint="give one of them; --input uint8:1/255 states pixels"
        )
    if text is not None:
        return parse_input(text)
    if pixel_scale is None:
        return None
    try:
        return InputType(0, 255, (parse_scale(pixel_scale),))
    except ValueError as error:
        what = f"--pixel-scale {pixel_scale} is no positive fraction within float32"
        raise UserError(what, hint="write 1/255 or 0.0039") from error


def chosen_encoding(file: ModelFile, stated: InputType | None) -> tuple[Encoding, list[str]]:
    """How the host makes the input of ``file``, and what the report should say of it."""
    return choose(file.encoding, file.datatype, file.graph, stated, fixed=file.integer)


def choose(
    said: Encoding | None, datatype: str, graph: Graph, stated: InputType | None, *, fixed: bool = False
) -> tuple[Encoding, list[str]]:
    """How the host makes the input of the MODEL ``graph``: as ``stated``, as the file ``said``, or by its quantizer.

    Returns it with notes for the report. ``datatype`` is the QONNX datatype that the file notes beside its input,
    which is itself of that type where that is ``fixed``.

    Raises:
        UserError: nothing tells what the input holds; the type has another number of channels; the file quantizes its
            input and a type is given as well; or a noted datatype does not tell the input's numbers.
    """
    quantizer, found = input_quantizer(graph), said if stated is None else Encoding(stated)
    if found is None:
        found = Encoding(_codes(graph, datatype), integers=False)
    if fixed and found != Encoding(noted_input(datatype) or found.input):
        source = "the file's metadata" if stated is None else "--input"
        raise UserError(
            f"the file's input holds {datatype.lower()}, and {source} gives it another type",
            hint="leave it out: DequantizeLinear says what the integers are worth",
        )
    own = not found.integers and quantizer is not None and found.input == InputType.codes_of(quantizer)
    if quantizer is not None and not own and (found.input.rounds or found.quantizer is not None):
        source = "the file's metadata" if stated is None else "--input"
        raise UserError(
            f"{source} gives the input a type, and a quantizer of the network gives it another",
            hint="leave one of them out",
        )
    channels = graph.input.shape[2]
    if not fits(found, channels):
        sizes = ", ".join(str(len(v)) for v in (found.input.scale, found.input.offset) if len(v) > 1)
        raise UserError(f"{sizes} scales of an input of {channels} channels", hint="give one, or one a channel")
    plain = found.input.is_pixel and found.quantizer is None and not found.input.rounds
    found = replace(found, quantizer=found.quantizer or quantizer)
    return found, [] if plain else [f"input: {input_text(found)}"]


def _codes(graph: Graph, datatype: str) -> InputType:
    """The codes of the quantizer that reads the input, or reads it scaled, or of those that read all its parts.

    Raises:
        UserError: there is none, so that nothing tells the input's numbers; ``datatype`` may say why.
    """
    quantizer = input_quantizer(graph)
    found = InputType.codes_of(quantizer) if quantizer else scaled_quantizer(graph) or parted_quantizers(graph)
    if found is not None:
        return found
    if datatype.startswith("SCALEDINT"):
        raise UserError(
            f"the input is noted as {datatype}, whose scale the file does not tell", hint="give --input int8:SCALE"
        )
    if "INT" in datatype or datatype.startswith("FIXED"):
        raise UserError(
            f"the input is noted as {datatype}, and float32 holds integers of at most {MAX_INPUT_BITS} bits",
            hint="give the type of its values with --input",
        )
    raise UserError(
        f"nothing tells what the input '{graph.input.name}' holds: the network has no quantizer there",
        hint="give --pixel-scale 1/255 for pixels, --input int8:0.05 for other numbers, or put a quantizer in front",
    )
