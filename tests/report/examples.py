"""Reports to test with: a residual network of realistic figures, of any number of nodes."""

from __future__ import annotations

from toolchain.report.data import (
    Accuracy,
    Bound,
    Estimate,
    Fifos,
    ModelFacts,
    NodeFacts,
    Report,
    ResourceUse,
    SolverFacts,
    Step,
    Training,
    Usage,
    Verification,
)

INTERVAL = 9216
_BLOCK = (
    # op, cycles, lut, ff, dsp, bram18, lanes, bits
    ("Window", 9180, 612, 705, 0, 6, (16, 16), "u4 → u4"),
    ("MatVec", INTERVAL, 2140, 2388, 12, 9, (16, 16), "s4 × u4 → s14"),
    ("Threshold", 4096, 824, 861, 0, 1, (4, 4), "s14 → u4"),
    ("Fork", 2048, 20, 20, 0, 0, (8, 8), "u4"),
    ("Add", 4096, 96, 104, 0, 0, (4, 4), "u4 + u4 → u5"),
)


def example_node(index: int) -> NodeFacts:
    """The ``index``-th unit of a network of equal blocks, the later ones smaller."""
    op, cycles, lut, ff, dsp, bram18, lanes, bits = _BLOCK[index % len(_BLOCK)]
    block = index // len(_BLOCK)
    return NodeFacts(
        name=f"layer{block + 1}_{op.lower()}",
        op=op,
        cycles=cycles - (block % 5) * 384,
        counted_cycles=cycles - (block % 5) * 384,
        lut=lut + 97 * (block % 5),
        ff=ff + 81 * (block % 5),
        dsp=dsp,
        bram18=bram18,
        parallelism=dict(zip(("SIMD", "PE") if op == "MatVec" else ("lanes_in", "lanes_out"), lanes, strict=True)),
        bits=bits,
        origin=(f"/layer{block + 1}/{op}_{index}",),
    )


def example_report(count: int = 25) -> Report:
    """A verified streaming accelerator of ``count`` nodes."""
    nodes = tuple(example_node(i) for i in range(count))
    used = {kind: sum(getattr(node, kind) for node in nodes) for kind in ("lut", "ff", "dsp", "bram18")}
    return Report(
        name="resnet8-cifar10-w4a4",
        model=ModelFacts(file="runs/resnet8-cifar10-w4a4/model.onnx", sha256="5f" * 32, macs=12_501_632, params=77_360),
        board="zu3eg",
        architecture="streaming",
        clock_mhz=250.0,
        estimate=Estimate(fps=250e6 / INTERVAL, latency_ms=0.113, cycles_per_frame=INTERVAL, bytes_per_frame=3076),
        bound=Bound(
            fps=31_250.0,
            limited_by="multipliers: 12.5 M MAC a frame at 1563 a cycle",
            ceilings={"multipliers": 31_250.0, "BRAM18": 68_400.0, "memory bandwidth": 1_386_000.0},
        ),
        resources=ResourceUse(
            lut=Usage(used=used["lut"] + 1480, budget=40_803, available=70_560),
            ff=Usage(used=used["ff"] + 2280, budget=55_560, available=141_120),
            dsp=Usage(used=used["dsp"], budget=360, available=360),
            bram18=Usage(used=used["bram18"] + 8, budget=410, available=432),
        ),
        solver=SolverFacts(name="HiGHS 1.11", status="optimal", gap=0.0, seconds=2.84),
        verification=Verification(
            images=1000,
            qonnx_top1_agreement=1.0,
            qonnx_code_mismatches=3,
            csim_mismatches=0,
            csim_seconds=41.7,
        ),
        accuracy=Accuracy(top1=0.8734, images=10_000, float_top1=0.8812),
        nodes=nodes,
        training=Training(data="cifar10", methods=("lsq",), weight_bits=4, act_bits=4, weight_sparsity=0.114),
        fifo=Fifos(streams=31, bits=18_944, deepest=288),
        next_steps=(Step(title="Synthesize", command="cd build/resnet8/hls && vitis-run --mode hls --tcl build.tcl"),),
        tool={"fpgaflow": "0.1.0", "g++": "12.2.0"},
    )
