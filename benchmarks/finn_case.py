"""Files through the default steps of finn-plus up to hardware layers, in a Python that has it: for `converters.py`."""

from __future__ import annotations

import sys
import warnings
from copy import deepcopy
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
from case_worker import Arrays, Refused, clean, reason, serve
from finn.util.settings import initialize_dummy_settings
from qonnx.core.onnx_exec import execute_onnx

warnings.simplefilter("ignore")
initialize_dummy_settings()
sys.modules["finn.xsi"] = MagicMock()  # the vendor's simulator, which no step up to hardware layers needs

from finn.builder import build_dataflow_steps  # noqa: E402
from finn.builder.build_dataflow_config import DataflowBuildConfig  # noqa: E402

STEPS = ("step_qonnx_to_finn", "step_tidy_up", "step_streamline", "step_convert_to_hw",
         "step_create_dataflow_partition")  # fmt: skip
HARDWARE = "finn.custom_op.fpgadataflow"


def converted(path: Path, inputs: Arrays, outputs: list[str], folder: Path) -> tuple[Arrays, str, str]:
    """Convert, part it from what is left to software, execute the layers as they were before, frame by frame."""
    model = whole = clean(path)
    config = DataflowBuildConfig(output_dir=str(folder / "out"), synth_clk_period_ns=4.0, generate_outputs=[])
    for step in STEPS:
        try:
            model, whole = getattr(build_dataflow_steps, step)(deepcopy(model), config), model
        except Exception as error:
            raise Refused(f"{step}: {reason(error)}") from error
    left = sorted({node.op_type for node in whole.graph.node if not node.domain.startswith(HARDWARE)})
    given = dict(zip((value.name for value in whole.graph.input), inputs.values(), strict=True))
    ends = [value.name for value in whole.graph.output]
    frames = [
        execute_onnx(whole, {name: x[i : i + 1].astype(np.float32) for name, x in given.items()})
        for i in range(len(next(iter(given.values()))))
    ]
    found = {name: np.concatenate([frame[end] for frame in frames]) for name, end in zip(outputs, ends, strict=True)}
    return found, ", ".join(left), ""


if __name__ == "__main__":
    serve(converted)
