"""The training methods, one file each, and which of them a run file asks for."""

from __future__ import annotations

from typing import Any

from toolchain.config.run import QuantConfig, StageConfig
from toolchain.train.methods.base import Method, QuantMethod
from toolchain.train.methods.brevitas import Brevitas
from toolchain.train.methods.dst import Dst
from toolchain.train.methods.fqconv import Fqconv
from toolchain.train.methods.hfp import Hfp
from toolchain.train.methods.lsq import Lsq
from toolchain.train.methods.magnitude import Magnitude
from toolchain.train.methods.nrmf import Nrmf
from toolchain.train.methods.qcqp import Qcqp
from toolchain.train.methods.qil import Qil
from toolchain.train.methods.slimming import Slimming
from toolchain.train.methods.symog import Symog
from toolchain.train.methods.transport import TransportPruning


def quant_method(quant: QuantConfig) -> QuantMethod:
    """The method that quantizes, by ``quant.method``; the float network of an integer-only run needs none."""
    match quant.method:
        case "lsq":
            return Lsq()
        case "niti":
            return QuantMethod()
        case "brevitas":
            return Brevitas()
        case "qil":
            return Qil(quant.qil)
        case "fqconv":
            return Fqconv(quant.fqconv)
        case "symog":
            return Symog(quant.symog, clip=True)
        case "sgm":
            return Symog(quant.symog, clip=False)


def stage_methods(stage: StageConfig) -> list[Method]:
    """The methods that a stage adds to the quantizer's, in the order they are applied."""
    kinds: dict[str, Any] = {
        "magnitude": Magnitude,
        "qcqp": Qcqp,
        "slimming": Slimming,
        "dst": Dst,
        "transport": TransportPruning,
        "hfp": Hfp,
        "nrmf": Nrmf,
    }
    asked = {name: getattr(stage, name) for name in kinds}
    return [kinds[name](table) for name, table in asked.items() if table is not None]
