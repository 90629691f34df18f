"""Factors: matrices and kernels as products of smaller ones, in float64.

Shape letters: O output channels, I input channels, r and s ranks; kh, kw sides of a kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Matrix = NDArray[np.float64]
MOST_SWEEPS = 20  # of Tucker's alternation; a handful is the rule
LEAST_GAIN = 1e-7  # of a sweep, as a share of the kernel's energy, for another one


@dataclass(frozen=True, slots=True)
class Rank:
    """How large a factorisation is: by what it keeps, or as given.

    Attributes:
        energy: Share of the squared singular values that is kept at least.
        count: The rank itself; where there are two, both.
        multiple: Ranks round up to multiples of it.
    """

    energy: float | None = None
    count: int | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        if (self.energy is None) == (self.count is None):
            raise UserError("a rank is given either by its energy or by its count")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise UserError(f"energy must be above 0 and at most 1, got {self.energy}")
        if self.count is not None and self.count < 1:
            raise UserError(f"a rank must be at least 1, got {self.count}")
        if self.multiple < 1:
            raise UserError(f"multiple must be at least 1, got {self.multiple}")

    def of(self, energies: Matrix) -> int:
        """Returns the rank for squared singular values in falling order, at most all of them."""
        if self.count is not None:
            rank = self.count
        else:
            assert self.energy is not None
            kept = np.cumsum(energies)
            # A whole energy asks for all that is not zero; rounding of the sum must not hide it.
            enough = kept >= self.energy * kept[-1] * (1 - 1e-12)
            rank = int(np.argmax(enough)) + 1
        return min(-(-rank // self.multiple) * self.multiple, len(energies))


def principal(gram: Matrix) -> tuple[Matrix, Matrix]:
    """Returns the eigenvalues of a Gram matrix (n, n), largest first, and its eigenvectors (n, n)
    in columns."""
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def halves(matrix: Matrix, rank: Rank) -> tuple[Matrix, Matrix]:
    """Returns factors (m, r) and (r, n) whose product is nearest to a matrix (m, n) at this rank.

    They are those of the singular value decomposition (Eckart and Young, 1936), found from the
    smaller Gram matrix; both have the same scale, so that neither is trained or coded worse.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, left = halves(matrix.T, rank)
        return left.T, right.T
    energies, vectors = principal(matrix @ matrix.T)
    left = vectors[:, : rank.of(energies)]
    right = left.T @ matrix
    scale = np.sqrt(np.linalg.norm(right, axis=1))
    scale[scale == 0] = 1
    return left * scale, right / scale[:, None]


def spatial(kernel: Matrix, rank: Rank) -> tuple[Matrix, Matrix]:
    """Returns kernels (r, I, kh, 1) and (O, r, 1, kw) in place of one (O, I, kh, kw).

    *Source:* Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank
    Expansions", BMVC 2014, https://arxiv.org/abs/1405.3866, scheme 2; solved exactly as in Tai et
    al., ICLR 2016, https://arxiv.org/abs/1511.06067.
    """
    out, inputs, kh, kw = kernel.shape
    left, right = halves(kernel.transpose(1, 2, 0, 3).reshape(inputs * kh, out * kw), rank)
    first = left.reshape(inputs, kh, 1, -1).transpose(3, 0, 1, 2)
    return first, right.reshape(-1, out, 1, kw).transpose(1, 0, 2, 3)


def fewer_inputs(kernel: Matrix, rank: Rank) -> tuple[Matrix, Matrix]:
    """Returns kernels (r, I, 1, 1) and (O, r, kh, kw) in place of one (O, I, kh, kw)."""
    out, inputs, kh, kw = kernel.shape
    left, right = halves(kernel.transpose(1, 0, 2, 3).reshape(inputs, out * kh * kw), rank)
    return left.T[:, :, None, None], right.reshape(-1, out, kh, kw).transpose(1, 0, 2, 3)


def fewer_outputs(kernel: Matrix, rank: Rank) -> tuple[Matrix, Matrix]:
    """Returns kernels (r, I, kh, kw) and (O, r, 1, 1) in place of one (O, I, kh, kw)."""
    left, right = halves(kernel.reshape(len(kernel), -1), rank)
    return right.reshape(-1, *kernel.shape[1:]), left[:, :, None, None]


def tucker(kernel: Matrix, rank: Rank) -> tuple[Matrix, Matrix, Matrix]:
    """Returns kernels (r, I, 1, 1), (s, r, kh, kw) and (O, s, 1, 1) in place of one.

    *Source:* Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power
    Mobile Applications", ICLR 2016, https://arxiv.org/abs/1511.06530, section 3.1 (Tucker-2);
    higher-order SVD, then higher-order orthogonal iteration (De Lathauwer et al., 2000).
    Differs from the paper: ranks by energy, not by variational Bayes.
    """
    energies, into = mode_vectors(kernel, 1)
    into = into[:, : rank.of(energies)]
    energies, out = mode_vectors(kernel, 0)
    out = out[:, : rank.of(energies)]
    total, kept = float((kernel**2).sum()), 0.0
    for _ in range(MOST_SWEEPS):
        before = kept
        _, vectors = mode_vectors(np.einsum("oiyx,ir->oryx", kernel, into), 0)
        out = vectors[:, : out.shape[1]]
        _, vectors = mode_vectors(np.einsum("oiyx,os->siyx", kernel, out), 1)
        into = vectors[:, : into.shape[1]]
        core = np.einsum("oiyx,os,ir->sryx", kernel, out, into, optimize=True)
        kept = float((core**2).sum())
        if kept - before <= LEAST_GAIN * total:
            break
    return into.T[:, :, None, None], core, out[:, :, None, None]


def mode_vectors(kernel: Matrix, mode: int) -> tuple[Matrix, Matrix]:
    """Returns the energies and directions of a kernel's channels: of outputs (0) or inputs (1)."""
    flat = np.moveaxis(kernel, mode, 0).reshape(kernel.shape[mode], -1)
    return principal(flat @ flat.T)


def of_responses(
    kernel: Matrix, responses: Matrix, rank: Rank
) -> tuple[Matrix, Matrix, NDArray[np.float64]]:
    """Returns kernels as `fewer_outputs` does, for given responses, and the term (O,) they need.

    The outputs that a layer gives on data lie near a subspace; they are projected on it about
    their mean (Zhang et al., "Efficient and Accurate Approximations of Nonlinear Convolutional
    Networks", CVPR 2015, https://arxiv.org/abs/1411.4229, section 3.1).

    Args:
        responses: What the kernel gives, before any bias (samples, O).
    """
    mean = responses.mean(0)
    centred = responses - mean
    energies, vectors = principal(centred.T @ centred)
    basis = vectors[:, : rank.of(energies)]
    first = np.einsum("os,oiyx->siyx", basis, kernel)
    return first, basis[:, :, None, None], mean - basis @ (basis.T @ mean)


def product(kernels: Sequence[Matrix]) -> Matrix:
    """Returns the kernel (O, I, kh, kw) that kernels one after the other amount to.

    Each side of the window is that of at most one of them.
    """
    whole = kernels[0]
    for kernel in kernels[1:]:
        whole = np.einsum("oryx,rivw->oiyvxw", kernel, whole, optimize=True)
        out, inputs, y, v, x, w = whole.shape
        whole = whole.reshape(out, inputs, y * v, x * w)
    return whole
