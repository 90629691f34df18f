"""Archives of AlexNet and VGG-16 as the paper shares them, against the paper and nncodec.

    python -m benchmarks.archives.coding --json archives.json

The weights are made (`benchmarks.archives.paper_weights`), so no accuracy is told. Every layer
goes through our two coders and through nncodec; whole archives are written and read."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.archives.paper_weights import NETWORKS, PaperNetwork, layers, paper_model
from benchmarks.archives.peer import peer_coded
from benchmarks.archives.timed import our_coded
from benchmarks.report import print_table, write_json
from nas.models.archives.archive import archive_bytes, read_content
from nas.models.archives.paper_form import IndexBits
from nas.models.folder import ModelInput, StoredModel
from search_spaces.graphs.model import Model

FLOAT_BYTES, MEGA = 4, 1e6
WITHIN = 0.03  # of the paper's ratio, with Huffman codes
SMALLER, FASTER, SPEED = 0.97, 2.0, 100.0  # wanted against nncodec; MB of float32 a second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--networks", nargs="*", default=[each.name for each in NETWORKS])
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for network in NETWORKS:
        if network.name in given.networks:
            model = paper_model(network)
            found = layer_rows(network, model, not given.without_peer, given.repeats)
            print_table(f"{network.name}: its layers, bytes and seconds", found)
            whole = whole_row(network, model, found)
            print_table(f"{network.name}: the whole archive", [whole])
            rows += found
            summary[network.name] = whole
    write_json(given.json, rows, summary)
    return 0


def layer_rows(
    network: PaperNetwork, model: Model, with_peer: bool, repeats: int
) -> list[dict[str, Any]]:
    """Returns a row a layer: sizes of ours, of nncodec and of the paper, and speeds."""
    widths = IndexBits(network.index_bits, network.index_bits)
    rows = []
    for (_, weights), (name, paper) in zip(layers(model), network.layers.items(), strict=True):
        huffman = our_coded(weights, "huffman", widths, repeats)
        ans = our_coded(weights, "ans", widths, repeats)
        row: dict[str, Any] = {
            "network": network.name,
            "layer": name,
            "weights": weights.size,
            "kept": float(np.count_nonzero(weights) / weights.size),
            "paper_percent": paper.percent,
            "huffman_percent": 100 * huffman.size_bytes / weights.nbytes,
            "ans_percent": 100 * ans.size_bytes / weights.nbytes,
            "entropy_percent": 100 * entropy_bytes(weights) / weights.nbytes,
            "huffman_bytes": huffman.size_bytes,
            "ans_bytes": ans.size_bytes,
            "huffman_mb_s": weights.nbytes / MEGA / huffman.decode_s,
            "ans_mb_s": weights.nbytes / MEGA / ans.decode_s,
            "ans_encode_s": ans.encode_s,
            "ans_decode_s": ans.decode_s,
        }
        if with_peer:
            peer = peer_coded(weights, repeats)
            row |= {
                "nncodec_bytes": peer.size_bytes,
                "ans_to_nncodec": ans.size_bytes / peer.size_bytes,
                "nncodec_encode_s": peer.encode_s,
                "nncodec_decode_s": peer.decode_s,
            }
        rows.append(row)
        print(f"  {name} done", file=sys.stderr)
    return rows


def whole_row(
    network: PaperNetwork, model: Model, rows: list[dict[str, Any]]
) -> Mapping[str, Any]:
    """Returns what whole archives take, all bytes counted, and whether it is what was wanted."""
    floats = sum(array.nbytes for array in model.arrays.values())
    stored = StoredModel(network.name, model, ModelInput(), None, {"from": "benchmark"})
    widths = IndexBits(network.index_bits, network.index_bits)
    row: dict[str, Any] = {"network": network.name}
    for entropy in ("huffman", "ans"):
        start = perf_counter()
        content = archive_bytes(stored, entropy, widths)
        middle = perf_counter()
        found = read_content(Path(network.name), content)
        end = perf_counter()
        assert all(
            found.model.arrays[name].tobytes() == array.tobytes()
            for name, array in model.arrays.items()
        )
        row[f"{entropy}_bytes"] = len(content)
        row[f"{entropy}_ratio"] = floats / len(content)
        row[f"{entropy}_write_s"] = middle - start
        row[f"{entropy}_read_mb_s"] = floats / MEGA / (end - middle)
    row["paper_ratio"] = network.huffman
    row["huffman_is_the_papers"] = row["huffman_ratio"] >= (1 - WITHIN) * network.huffman
    row["wanted_ratio"] = network.contexts
    row["ratio_met"] = row["ans_ratio"] >= network.contexts
    row["speed_met"] = row["ans_read_mb_s"] >= SPEED
    if "nncodec_bytes" in rows[0]:
        ours, theirs = (sum(each[key] for each in rows) for key in ("ans_bytes", "nncodec_bytes"))
        faster = sum(each["nncodec_decode_s"] for each in rows) / sum(
            each["ans_decode_s"] for each in rows
        )
        row |= {
            "of_nncodec": ours / theirs,
            "smaller_met": ours <= SMALLER * theirs,
            "faster_than_nncodec": faster,
            "faster_met": faster >= FASTER,
        }
    return row


def entropy_bytes(weights: np.ndarray) -> float:
    """Returns what weights would take if each were independent of all others."""
    counts = np.unique(weights, return_counts=True)[1] / weights.size
    return float(-(counts * np.log2(counts)).sum() * weights.size / 8)


if __name__ == "__main__":
    sys.exit(main())
