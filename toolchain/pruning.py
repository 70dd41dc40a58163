"""What a run file says about pruning: one table a method, each optional in a ``[[stage]]``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = float
Strength = float


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Budget(_Table):
    """What may be left, as a share of the network the stage begins with."""

    macs: Share | None = Field(default=None, gt=0, le=1)
    params: Share | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _has_a_budget(self) -> _Budget:
        if self.macs is None and self.params is None:
            raise ValueError("give macs or params, the share to keep")
        return self


class _Masked(_Budget):
    """A budget for whole filters, or for single weights, of which only ``params`` can be counted."""

    granularity: Literal["filter", "weight"] = "filter"
    scope: Literal["global", "layer"] = "global"  # layer: every layer keeps the same share

    @model_validator(mode="after")
    def _counts_weights(self) -> _Masked:
        if self.granularity == "weight" and self.macs is not None:
            raise ValueError("granularity 'weight' takes params, not macs: zeros are multiplied all the same")
        return self


class MagnitudeConfig(_Masked):
    """One-shot removal of the filters or weights of least norm when the stage begins; its epochs tune the rest."""


class SlimmingConfig(_Budget):
    """L1 on the batch norms' scales during the stage; the smallest go when it ends."""

    strength: Strength = Field(default=1e-4, ge=0)


class DstConfig(_Table):
    """Trainable thresholds; ``alpha`` is the only knob."""

    alpha: Strength = Field(default=5e-4, ge=0)


class TransportConfig(_Masked):
    """Soft masks from optimal transport; ``epsilon`` is the entropy's weight, ``strength`` that of a MAC budget."""

    epsilon: Strength = Field(default=1.0, gt=0)
    strength: Strength = Field(default=1.0, gt=0)


class HfpConfig(_Budget):
    """Budgets in the loss through gates on the batch norms' scales; a gate closes at ``threshold``."""

    strength: Strength = Field(default=1.0, gt=0)
    threshold: Strength = Field(default=1e-2, gt=0)


class QcqpConfig(_Table):
    """Optimal selection of channels under one budget or several."""

    macs: Share | None = Field(default=None, gt=0, le=1)
    params: Share | None = Field(default=None, gt=0, le=1)
    cycles: int | None = Field(default=None, ge=1)  # a frame, of the slowest layer with its lanes
    lut: int | None = Field(default=None, ge=1)  # of all matrix-vector units with their lanes
    lanes: dict[str, tuple[int, int]] = Field(default_factory=dict)  # layer: inputs, outputs a cycle; 1, 1 by default
    seconds: Strength = Field(default=60.0, gt=0)  # for the solver

    @model_validator(mode="after")
    def _has_a_budget(self) -> QcqpConfig:
        if all(value is None for value in (self.macs, self.params, self.cycles, self.lut)):
            raise ValueError("give a budget: macs, params, cycles or lut")
        return self


class NrmfConfig(_Table):
    """Low-rank training, then each convolution becomes three."""

    energy: Share = Field(default=0.95, gt=0, le=1)  # share of the eigenvalues' sum that the ranks keep
    ranks: Literal["energy", "vbmf"] = "energy"
    norm: Literal["frobenius", "nuclear"] = "frobenius"
    strength: Strength = Field(default=1e-2, ge=0)


class PruningStage(_Table):
    """The tables of a ``[[stage]]`` that prune or factorize, one at most in a stage."""

    magnitude: MagnitudeConfig | None = None
    qcqp: QcqpConfig | None = None
    slimming: SlimmingConfig | None = None
    dst: DstConfig | None = None
    transport: TransportConfig | None = None
    hfp: HfpConfig | None = None
    nrmf: NrmfConfig | None = None

    @model_validator(mode="after")
    def _one_at_most(self) -> PruningStage:
        given = [name for name in PruningStage.model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} in one stage; give each its own")
        return self
