"""One QONNX file through hls4ml's Vitis back end and C simulation; prints how far it is from the QONNX executor."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np


def main() -> None:
    """Convert as its documentation says: clean up, channels last, Gemm to MatMul, then compile and predict."""
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    from toolchain.frontend.execute import execute_qonnx
    from toolchain.frontend.read import read_qonnx

    path = Path(sys.argv[1])
    source = read_qonnx(path)
    model = cleanup_model(ModelWrapper(str(path)))
    if len(source.layout.axes) == 4:
        model = model.transform(ConvertToChannelsLastAndClean())
    model = cleanup_model(model.transform(GemmToMatMul()))
    config = hls4ml.utils.config_from_onnx_model(model, granularity="name", backend="Vitis")
    x = np.random.default_rng(0).random((8, *source.layout.onnx_shape(1)[1:])).astype(np.float32)
    expected = execute_qonnx(path, x)[source.output].reshape(8, -1)
    with tempfile.TemporaryDirectory() as folder:
        converted = hls4ml.converters.convert_from_onnx_model(
            model, hls_config=config, backend="Vitis", output_dir=folder, io_type="io_parallel"
        )
        converted.compile()
        given = source.layout.to_ir(x) if len(source.layout.axes) == 4 and source.graph.input.shape[0] > 1 else x
        found = converted.predict(np.ascontiguousarray(given)).reshape(8, -1)
    agree = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
    print(
        f"hls4ml {hls4ml.__version__}: largest error {np.abs(found - expected).max():.3g}, top-1 agreement {agree:.0%}"
    )


if __name__ == "__main__":
    main()
