"""The stage that proves a build: C simulation = integer network, and integer network = QONNX file up to ties."""

from __future__ import annotations

import numpy as np

from toolchain.errors import VerificationError
from toolchain.flow.build import Build
from toolchain.flow.images import Images
from toolchain.flow.options import Check
from toolchain.flow.progress import Progress, silent
from toolchain.flow.records import SimulationRecord, write_result
from toolchain.frontend.agreement import Agreement
from toolchain.frontend.agreement import compare as compare_with_qonnx
from toolchain.simulate.compiler import compiler


def simulate(build: Build, check: Check, *, images: Images | None = None, progress: Progress = silent) -> Build:
    """Write simulation.json: the C simulation against the integer network, and that against the QONNX file.

    ``images`` are those of ``check`` where they have been read before.

    Raises:
        UserError: hls/ is missing or was made from another plan; unfit images; no compiler.
    """
    project, design = build.project, build.design  # what is stale is told before any work
    images = build.images(check) if images is None else images
    agreement, deviation = _qonnx(build, images, check, progress)
    run = design.simulate(project.files, images, check, progress)
    top1 = None
    if images.y is not None and len(run.classes):
        top1 = float(np.mean(run.classes == images.y))
    result = SimulationRecord(
        design=project.design,
        project=project.digest,
        data=images.name,
        images=len(images.x),
        qonnx_images=agreement.images if agreement else 0,
        qonnx_top1_agreement=agreement.top1 if agreement else None,
        qonnx_code_mismatches=agreement.mismatches if agreement else None,
        csim_mismatches=run.mismatches,
        csim_seconds=run.seconds,
        vectors=run.driven.vectors,
        vector_mismatches=run.driven.mismatches,
        first_deviation=deviation or run.deviation,
        top1=top1,
        calls=run.calls,
        cycles=run.cycles,
        compiler=compiler()[1],
    )
    write_result(result, build.folder / "simulation.json")
    return build.knowing(simulation=result)


def demand_exact(found: SimulationRecord) -> None:
    """Raise VerificationError unless every comparison of ``found`` is exact, the cycles included."""
    if found.first_deviation or found.csim_mismatches or found.vector_mismatches:
        alone = f", {found.vector_mismatches} of units driven alone" if found.vector_mismatches else ""
        raise VerificationError(
            f"the build is not exact: {found.csim_mismatches} codes of the C simulation differ{alone}; "
            f"{found.first_deviation or 'no node was found to deviate'}"
        )


def _qonnx(build: Build, images: Images, check: Check, progress: Progress) -> tuple[Agreement | None, str | None]:
    """The comparison with the QONNX file, and what it found wrong; nothing when the file is gone or has changed."""
    file = build.source() if check.qonnx_images else None
    if file is None:
        return None, None
    progress("qonnx", 0, 1)
    try:
        agreement = compare_with_qonnx(file, build.network.graph, images.x[: check.qonnx_images], check.memory)
    except VerificationError as error:
        return None, str(error)
    progress("qonnx", 1, 1)
    return agreement, None
