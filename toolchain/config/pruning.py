"""The tables of a run file for pruning: one a method, each optional in a ``[[stage]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from toolchain.config.table import Table

Share = float
Strength = float
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


class _Budget(Table):
    """The share to keep of the network that the stage begins with."""

    macs: Share | None = Field(default=None, gt=0, le=1)
    params: Share | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _has_a_budget(self) -> _Budget:
        if self.macs is None and self.params is None:
            raise ValueError("give macs or params, the share to keep")
        return self


LEAST = 4
"""Channels that a layer keeps at least, unless a table says otherwise: with fewer, a layer holds the others back."""


class _Filters(_Budget):
    """A budget that is met by removing channels; a layer keeps a multiple of ``multiple``, so that lanes divide it."""

    multiple: int = Field(default=1, ge=1)
    least: int = Field(default=LEAST, ge=1)  # channels that a layer keeps, or all it has


class _Masked(_Filters):
    """A budget for whole filters, or for single weights, of which only ``params`` can be counted."""

    granularity: Literal["filter", "weight"] = "filter"
    scope: Literal["global", "layer"] = "global"  # layer: every layer keeps the same share

    @model_validator(mode="after")
    def _counts_weights(self) -> _Masked:
        if self.granularity == "weight" and self.macs is not None:
            raise ValueError("granularity 'weight' takes params, not macs: zeros are multiplied all the same")
        if self.granularity == "weight" and self.multiple > 1:
            raise ValueError("granularity 'weight' removes no channels that could be a multiple")
        return self


class MagnitudeConfig(_Masked):
    """One-shot removal of the filters or weights of least norm when the stage begins; its epochs tune the rest."""


class SlimmingConfig(_Filters):
    """L1 on the batch norms' scales during the stage; the smallest go when it ends."""

    strength: Strength = Field(default=1e-4, ge=0)


class DstConfig(Table):
    """Trainable thresholds; ``alpha`` is the only knob."""

    alpha: Strength = Field(default=5e-4, ge=0)


class TransportConfig(_Masked):
    """Soft masks from optimal transport; ``strength`` is that of a budget of filters in the loss.

    ``epsilon`` is the entropy's weight; None takes the stage's steps over 23,000, so that the last temperature is the
    paper's. With ``scope`` "network" one plan moves all filters, with "global" one a layer, whose shares are learned.
    """

    scope: Literal["global", "layer", "network"] = "global"  # type: ignore[assignment]
    epsilon: Strength | None = Field(default=None, gt=0)
    strength: Strength = Field(default=1.0, gt=0)


class HfpConfig(_Filters):
    """Gates that descend on the loss and on the prices of both budgets in the first ``allocate`` of the stage.

    ``strength`` is how fast a budget that is missed moves the gates; the rest of the stage trains what is left.
    """

    strength: Strength = Field(default=4.0, gt=0)
    allocate: Share = Field(default=0.6, gt=0, le=1)


SHARED = ("macs", "params", "memory")
"""Budgets of `QcqpConfig` that are shares of the network."""

FOLDED = ("cycles", "lut", "dsp", "bram18")
"""Budgets of `QcqpConfig` that are counts on the board, of units whose lanes, or steps, are fixed."""


class QcqpConfig(Table):
    """Optimal selection of channels under one budget or several."""

    macs: Share | None = Field(default=None, gt=0, le=1)
    params: Share | None = Field(default=None, gt=0, le=1)
    memory: Share | None = Field(default=None, gt=0, le=1)  # bits of the weights and of what the layers write
    cycles: int | None = Field(default=None, ge=1)  # a frame, of the slowest layer with its lanes
    lut: int | None = Field(default=None, ge=1)  # of all matrix-vector units with their lanes
    dsp: int | None = Field(default=None, ge=0)
    bram18: int | None = Field(default=None, ge=0)
    lanes: dict[str, tuple[Count, Count]] = Field(default_factory=dict)  # layer: inputs, outputs a cycle; 1, 1 if none
    turns: dict[str, tuple[Count, Count]] = Field(default_factory=dict)  # in place of lanes: steps over inputs, outputs
    products_per_dsp: dict[str, Natural] = Field(default_factory=dict)  # layer: as in a plan; 0, in LUTs, if none
    blocks: bool = False  # whether the branch of a residual block may go as a whole
    multiple: int = Field(default=1, ge=1)  # of which a layer keeps a multiple, or all it has
    least: int = Field(default=LEAST, ge=1)  # channels that a layer keeps, or all it has
    seconds: Strength = Field(default=60.0, gt=0)  # for the solver
    solver: Literal["highs", "cpsat", "greedy"] = "highs"  # cpsat: pip install 'fpgaflow[cpsat]'; greedy: to compare
    scope: Literal["convolutions", "all"] = "convolutions"  # layers that count and shrink; the authors': convolutions
    importance: Literal["folded", "weights"] = "folded"  # times the batch norm's factor; the authors': weights alone
    granularity: Literal["channel", "position"] = "channel"  # position: then each filter loses positions of its kernel
    gamma: Share = Field(default=0.7, gt=0, le=1)  # of "position": channels are chosen for the budget over gamma

    @model_validator(mode="after")
    def _has_a_budget(self) -> QcqpConfig:
        if all(getattr(self, kind) is None for kind in (*SHARED, *FOLDED)):
            raise ValueError(f"give a budget: {', '.join(SHARED + FOLDED)}")
        others = [kind for kind in (*SHARED, *FOLDED) if kind != "params" and getattr(self, kind) is not None]
        if self.granularity == "position" and (self.params is None or others):
            raise ValueError("granularity 'position' takes params alone: zeros are multiplied all the same")
        if both := sorted(self.lanes.keys() & self.turns.keys()):
            raise ValueError(f"'{both[0]}' has lanes and turns; give one of them")
        return self


class NrmfConfig(Table):
    """Low-rank training, then each convolution becomes three; ranks fall below ``energy`` where a budget asks it."""

    energy: Share = Field(default=0.95, gt=0, le=1)  # share of the eigenvalues' sum that the ranks keep
    macs: Share | None = Field(default=None, gt=0, le=1)  # of the network the stage begins with
    params: Share | None = Field(default=None, gt=0, le=1)
    multiple: int = Field(default=1, ge=1)  # ranks are rounded up to a multiple, as far as the kernel has so many
    ranks: Literal["energy", "vbmf"] = "energy"
    norm: Literal["frobenius", "nuclear"] = "frobenius"
    strength: Strength = Field(default=1e-2, ge=0)

    @model_validator(mode="after")
    def _vbmf_has_no_budget(self) -> NrmfConfig:
        if self.ranks == "vbmf" and (self.macs is not None or self.params is not None):
            raise ValueError('ranks = "vbmf" chooses by itself and takes no budget')
        return self


BY_NORMS = ("slimming", "hfp")
"""Tables that prune by batch norms."""

LEARNING = ("slimming", "dst", "nrmf")
"""Tables whose terms in the loss move the weights, the batch norms' scales or thresholds of the weights."""


class PruningStage(Table):
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
