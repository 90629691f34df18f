"""The same symbols through the coder of nncodec, the public implementation of NNC.

    pip install --no-deps nncodec

NNC is ISO/IEC 15938-17. Its coder, DeepCABAC, is called by itself, without the bitstream around
it: what it needs of names, shapes and codebooks is not counted, ours is. It gets whole numbers,
the rank of each value among those of the codebook, zero for zero; its contexts are fitted
(``param_opt``) and rows of zeros skipped, as nncodec does by default."""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.archives.timed import Coded
from search_spaces.graphs.errors import UserError

UNARY_LENGTH = 11  # nncodec's own: what it signals is one less
FITTED, SKIP_ROWS, PROFILE = 1, 1, 1


def ranks(weights: NDArray[np.float32]) -> NDArray[np.int32]:
    """Returns the rank of each weight among the values above zero, or below it.

    >>> ranks(np.array([[-3, -1, 0, 2, 5]], np.float32))
    array([[-2, -1,  0,  1,  2]], dtype=int32)
    """
    values = np.unique(np.append(weights, np.float32(0)))
    zero = int(np.searchsorted(values, 0))
    return (np.searchsorted(values, weights) - zero).astype(np.int32)


def peer_coded(weights: NDArray[np.float32], repeats: int) -> Coded:
    """Returns what DeepCABAC makes of a layer's weights."""
    try:
        from nncodec.extensions.deepCABAC import Decoder, Encoder, HdspMode
    except ImportError:
        raise UserError(
            "nncodec is not installed; run pip install --no-deps nncodec, which compiles it"
        ) from None
    symbols = np.ascontiguousarray(ranks(weights.reshape(len(weights), -1)))
    skipped = (~symbols.any(1)).astype(np.int32)
    no_history = (HdspMode.AlwaysOff, np.zeros(2, np.int8))
    encode, decode = [], []
    for _ in range(repeats):
        start = perf_counter()
        encoder = Encoder()
        encoder.initCtxModels(UNARY_LENGTH, FITTED)
        encoder.encodeLayer(symbols, 0, 0, PROFILE, 0, SKIP_ROWS, skipped, *no_history, 0, 0)
        content = encoder.finish()
        middle = perf_counter()
        decoder, found = Decoder(), np.zeros_like(symbols)
        decoder.setStream(content)
        decoder.initCtxModels(UNARY_LENGTH)
        decoder.decodeLayer(found, 0, 0, PROFILE, 0, *no_history, 0, 0)
        encode.append(middle - start)
        decode.append(perf_counter() - middle)
    assert np.array_equal(found, symbols)
    return Coded(len(content), min(encode), min(decode))
