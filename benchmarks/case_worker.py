"""Files one after the other through another tool's converter, each in a fork of one process that has imported it.

It needs nothing of this project: the tools have their own Python. See `benchmarks/converters.py`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model

Arrays = dict[str, np.ndarray]
Convert = Callable[[Path, Arrays, list[str], Path], tuple[Arrays, str, str]]
"""The outputs of a file by the names given, for its inputs by name, what of it is left to software, and a remark."""
MEMORY = 5_000_000_000
IDLE = 10
"""Times of its processor time that a file may take on the clock."""


class Refused(Exception):
    """The tool does not take the file."""


def reason(error: Exception) -> str:
    """The kind and the first line of ``error``."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def clean(path: Path) -> Any:
    """The file as qonnx cleans it up, Q/DQ as Quant, which is all that both tools read, and defaults written out."""
    try:
        model = cleanup_model(ModelWrapper(str(path)))
    except Exception as error:
        raise Refused(f"cleanup_model: {reason(error)}") from error
    try:
        if model.get_nodes_by_op_type("DequantizeLinear"):
            model = cleanup_model(model.transform(QCDQToQuant()))
    except Exception as error:
        raise Refused(f"QCDQToQuant: {reason(error)}") from error
    return stated(model)


def stated(model: Any) -> Any:
    """``model``, a ModelWrapper of qonnx, with the attributes that ONNX gives by default: both tools ask for them."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 2:  # qonnx takes none without a bias
            name = model.make_new_valueinfo_name()
            model.set_initializer(name, np.zeros(model.get_tensor_shape(node.output[0])[-1], np.float32))
            node.input.append(name)
        known = {attribute.name for attribute in node.attribute}
        rank = len(model.get_tensor_shape(node.input[0]) or ()) - 2
        if rank < 1 or node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        facts: dict[str, Any] = {"strides": [1] * rank, "pads": [0] * 2 * rank}
        if node.op_type == "Conv":
            kernel = list(model.get_tensor_shape(node.input[1])[2:])
            facts |= {"kernel_shape": kernel, "dilations": [1] * rank, "group": 1}
        node.attribute.extend(helper.make_attribute(key, value) for key, value in facts.items() if key not in known)
    return model


def serve(convert: Convert) -> None:
    """Convert the files of the list ``argv[1]``, each with a folder of inputs and results, for ``argv[2]`` seconds.

    Writes a line to the output as soon as a file is done.
    """
    seconds = int(sys.argv[2])
    for path, folder in json.loads(Path(sys.argv[1]).read_text()):
        child = os.fork()
        if not child:
            _one(convert, Path(path), Path(folder), seconds)
            os._exit(0)
        _wait(child, seconds, Path(folder))
        print(path, flush=True)


def _one(convert: Convert, path: Path, folder: Path, seconds: int) -> None:
    os.setsid()
    os.chdir(folder)
    text = os.open("text", os.O_WRONLY | os.O_CREAT)
    os.dup2(text, 1)
    os.dup2(text, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    try:
        with np.load("inputs.npz") as arrays:
            inputs = {name: arrays[name] for name in arrays.files}
        found, left, remark = convert(path, inputs, json.loads(Path("outputs.json").read_text()), folder)
        np.savez("found.npz", **found)  # type: ignore[arg-type]
        said = {"left": left, "remark": remark}
    except Exception as error:  # noqa: BLE001  whatever it raises is how it refuses
        traceback.print_exc()
        said = {"refused": str(error) if isinstance(error, Refused) else reason(error)}
    Path("result.json").write_text(json.dumps(said))


def _wait(child: int, seconds: int, folder: Path) -> None:
    """Until ``child`` ends by itself or for its processor time; what waits for longer still is killed."""
    deadline, status = time.monotonic() + IDLE * seconds, 0
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            break
        time.sleep(0.1)
    status = status or ended[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        refused = f"not finished in {seconds} s of processor time"
        (folder / "result.json").write_text(json.dumps({"refused": refused}))
