"""Files through hls4ml's reader of ONNX, as its documentation says, and its C simulation: for `converters.py`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
from case_worker import Arrays, Refused, clean, reason, serve
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.extract_conv_bias import ExtractBiasFromConv
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model


def converted(path: Path, inputs: Arrays, outputs: list[str], folder: Path) -> tuple[Arrays, str, str]:
    """Convert; where that fails, once more with quantized weights as plain numbers; C simulation of the frames."""
    model, frames = cleaned(path, [x.astype(np.float32) for x in inputs.values()])
    said = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            project = project_of(model, folder / "project")
        except Exception as error:  # noqa: BLE001  whatever it raises is how it refuses
            texts = [str(warning.message) for warning in warned if "hls4ml" in warning.filename]
            said = reason(error) + (f", after its warning '{texts[-1]}'" if texts else "")
    if said:
        try:
            project = project_of(model.transform(FoldConstants(exclude_op_types=[])), folder / "folded")
        except Exception as error:
            raise Refused(said) from error
    script = Path(project.config.get_output_dir()) / "build_lib.sh"
    script.write_text(script.read_text().replace("-O3", "-O0"))  # no number changes
    project._compile()  # compile() would write the script again
    found = project.predict(frames if len(frames) > 1 else frames[0])
    arrays = dict(zip(outputs, found if isinstance(found, list) else [found], strict=True))
    return arrays, "", "weights folded" if said else ""


def cleaned(path: Path, frames: list[Any]) -> tuple[Any, list[Any]]:
    """The model and its frames, the first map with its channels last: qonnx turns no other input."""
    model = clean(path).transform(ExtractBiasFromConv())
    if all(x.ndim == 4 for x in frames):
        model = model.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
        frames[0] = np.ascontiguousarray(np.moveaxis(frames[0], 1, -1))
    return without_leading_ones(cleanup_model(model.transform(GemmToMatMul()))), frames


def without_leading_ones(model: Any) -> Any:
    """``model`` with parameters of (C,) for those of (1, C) or (1, 1, 1, C): hls4ml broadcasts no batch dimension."""
    parameters = {"Add": (0, 1), "Sub": (0, 1), "Mul": (0, 1), "Div": (0, 1), "Quant": (1, 2)}
    for node in model.graph.node:
        for name in [node.input[i] for i in parameters.get(node.op_type, ())]:
            array = model.get_initializer(name)
            if array is not None and array.ndim > 1 and array.shape[0] == 1:
                ones = next((i for i, size in enumerate(array.shape[:-1]) if size > 1), array.ndim - 1)
                model.set_initializer(name, array.reshape(array.shape[ones:]))
    return model


def project_of(model: Any, folder: Path) -> Any:
    """The project of ``model``, written to ``folder``, wide enough for what no quantizer bounds."""
    config = hls4ml.utils.config_from_onnx_model(
        model, granularity="name", backend="Vitis", default_precision="fixed<48,16>"
    )
    project = hls4ml.converters.convert_from_onnx_model(
        model, hls_config=config, backend="Vitis", output_dir=str(folder), io_type="io_parallel"
    )
    project.write()
    return project


if __name__ == "__main__":
    serve(converted)
