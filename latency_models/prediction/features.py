"""Work: amounts of work of one kernel, as they are counted, and the row of numbers they make."""

from dataclasses import dataclass
from math import prod

import numpy as np

from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.view import View
from search_spaces.graphs.activations import ACTIVATIONS, Activation

TERMS = (
    "calls",
    "cycles",
    "sums",
    "real_vectors",
    "code_vectors",
    "plane_vectors",
    "residual_vectors",
    "curved_vectors",
    "read_bytes",
    "weight_bytes",
)
FEATURES = (
    *("log_cycles", "log_macs", "log_read", "log_written", "log_weights", "log_pixels"),
    *("log_inputs", "log_outputs", "log_groups", "intensity", "window", "window_height"),
    *("stride", "lane_rest", "word_rest", "vectors", "tile_rows", "tile_columns"),
    *("tile_vectors", "outside", "row_rest", "column_rest", "vector_rest", "height", "width"),
    *("reals", "codes", "planes", "target_bits", "residual", "activation", "scaled", "factor"),
    *("threshold", "source_kind", "source_bits", "weight_bits", "halo", "planar", "sources"),
    *("stride_bytes", "target_halo", "variant", "merged", "rest"),
)
# What else tells kernels of one family apart.
VARIANTS = ("max", "average", "copy", "add", "scale")
KINDS = {"real": 0, "codes": 1, "planes": 2}


@dataclass(frozen=True, slots=True)
class Description:
    """A kernel as numbers.

    Attributes:
        kind: What it is, for people: kernels of one kind differ in size only.
        family: Kernels that have one piece of code.
        precision: What its numbers are, for example "w8a8"; "" where nothing is multiplied.
        macs: Multiply-accumulates.
        moved_bytes: Read and written, weights included.
    """

    kind: str
    family: str
    precision: str
    macs: float
    moved_bytes: float
    terms: tuple[float, ...]
    features: tuple[float, ...]


@dataclass(slots=True)
class KernelWork:
    """Amounts of work of one kernel, as they are counted."""

    unit: VectorUnit
    terms: dict[str, float]
    features: dict[str, float]

    def add_views(self, sources: tuple[View, ...], targets: tuple[View, ...]) -> None:
        lanes = self.unit.lanes
        for view in targets:
            vectors = view.height * view.width * -(-view.channels // lanes)
            name = {"real": "real", "codes": "code", "planes": "plane"}[view.form.kind]
            self.terms[f"{name}_vectors"] += vectors
            self.features[{"real": "reals"}.get(view.form.kind, view.form.kind)] += 1
        source, target = sources[0] if sources else targets[0], targets[0]
        self.terms["read_bytes"] += sum(map(map_bytes, sources))
        self.features |= {
            "log_pixels": log(target.height * target.width),
            "height": target.height,
            "width": target.width,
            "log_inputs": log(source.channels),
            "log_outputs": log(target.channels),
            "lane_rest": target.channels % lanes / lanes,
            "word_rest": source.channels % 32 / 32,
            "rest": target.channels % lanes,
            "vectors": -(-target.channels // lanes),
            "source_kind": KINDS[source.form.kind],
            "source_bits": source.form.bits,
            "halo": source.halo,
            "target_halo": target.halo,
            "planar": float(source.planar or target.planar),
            "sources": len(sources),
            "target_bits": min(view.form.bits for view in targets),
            "stride_bytes": log(source.pixel_stride * source.form.element_bytes),
            "log_written": log(sum(map(map_bytes, targets))),
        }

    def add_epilogue(self, end: Epilogue) -> None:
        vectors = end.shape[1] * end.shape[2] * -(-end.shape[0] // self.unit.lanes)
        if end.residual is not None:
            self.terms["residual_vectors"] += vectors
            self.terms["read_bytes"] += map_bytes(end.residual)
        if ACTIVATIONS[end.activation].curved:
            self.terms["curved_vectors"] += vectors * ACTIVATIONS[end.activation].duration
        self.features |= {
            "residual": 0 if end.residual is None else 1 + KINDS[end.residual.form.kind],
            "activation": activation_cost(end.activation),
            "scaled": end.scaled,
            "factor": end.factor is not None,
            "threshold": end.by_threshold,
        }

    def described(self, kind: str, family: str, precision: str, macs: float) -> Description:
        read, weights = self.terms["read_bytes"], self.terms["weight_bytes"]
        moved = read + weights + float(np.expm1(self.features.get("log_written", 0.0)))
        self.terms["calls"] = 1.0
        self.features |= {
            "log_cycles": log(self.terms["cycles"]),
            "log_macs": log(macs),
            "log_read": log(read),
            "log_weights": log(weights),
            "intensity": macs / max(moved, 1.0),
        }
        return Description(
            kind,
            family,
            precision,
            macs,
            moved,
            tuple(float(self.terms[name]) for name in TERMS),
            tuple(float(self.features[name]) for name in FEATURES),
        )


def activation_cost(activation: Activation) -> float:
    """0 for none, 1 for a bound or two, 2 for hardswish, more for what takes longer."""
    row = ACTIVATIONS[activation]
    return 1.0 + row.duration if row.curved else float(activation != "none")


def log(value: float) -> float:
    return float(np.log1p(value))


def map_bytes(view: View) -> float:
    bits = {"real": 32, "codes": 8, "planes": view.form.bits}[view.form.kind]
    return prod(view.shape) * bits / 8


def new_work(unit: VectorUnit) -> KernelWork:
    return KernelWork(unit, dict.fromkeys(TERMS, 0.0), dict.fromkeys(FEATURES, 0.0))


def window_text(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
