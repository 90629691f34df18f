"""Labels: what people write them as, as numbers from 0 on and one name a class.

Shape letters: N images, K classes.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.images import Labels, check_range
from search_spaces.graphs.errors import UserError


def numbered(
    where: str, labels: NDArray[Any], class_names: Sequence[str] = ()
) -> tuple[Labels, tuple[str, ...]]:
    """Returns labels as numbers, and the names of all classes.

    Args:
        where: What messages call the labels.
        labels: Whole numbers, truth values or names, of shape ``(N,)`` or ``(N, 1)``; or one-hot
            rows, ``(N, K)``.
        class_names: The names in order, where they are known; else names are sorted, and numbers
            are their own names.

    Raises:
        UserError: If they are none of these, or are not among the names.
    """
    names = tuple(map(same_form, class_names))
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{where}: class names must differ, got {repeated[0]!r} twice")
    labels = one_a_row(where, labels)
    if labels.dtype.kind in "OUS":
        return named(where, labels, names)
    if labels.dtype.kind == "b":
        return labels.astype(np.int64), names or ("false", "true")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise UserError(
            f"{where}: labels must be whole numbers, truth values or names, got {labels.dtype}; "
            "number the classes"
        )
    counted = labels.astype(np.int64)
    if names or (len(counted) and counted.min() < 0):
        check_range(where, counted, len(names) or int(counted.max()) + 1)
    return counted, names or numbers_as_names(where, counted)


def one_a_row(where: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Returns ``(N,)`` of ``(N,)``, ``(N, 1)`` or one-hot ``(N, K)``."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "iufb":
        ones = (labels == 1).sum(axis=1)
        odd = np.flatnonzero((ones != 1) | (np.count_nonzero(labels, axis=1) != 1))
        if len(odd):
            raise UserError(
                f"{where}: rows of several numbers must be one-hot (one 1, else 0), got "
                f"{np.array2string(labels[odd[0]], threshold=8)} in row {odd[0]}; give one class "
                "an image"
            )
        return labels.argmax(axis=1)
    if labels.ndim != 1:
        raise UserError(
            f"{where}: labels must be one a row, got shape {labels.shape}; give one class an image"
        )
    return labels


def named(
    where: str, labels: NDArray[Any], class_names: tuple[str, ...]
) -> tuple[Labels, tuple[str, ...]]:
    """Returns the numbers of names."""
    texts = [text_of(where, row, label) for row, label in enumerate(labels)]
    names = class_names or tuple(sorted(set(texts)))
    number = {name: label for label, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in number:
            raise UserError(
                f"{where}: {text!r} in row {row} is none of the classes ({in_short(names)}); "
                "correct the label or name all classes"
            )
    return np.array([number[text] for text in texts], np.int64), names


def text_of(where: str, row: int, label: object) -> str:
    """Returns the name of a class, which must be text."""
    if label is None or label != label:  # what tables hold where nothing is
        what = "nothing"
    elif not isinstance(label, str | bytes):
        what = type(label).__name__
    else:
        try:
            name = label if isinstance(label, str) else label.decode()
            return same_form(name.encode().decode())
        except UnicodeError:
            what = "bytes that are not UTF-8"
    raise UserError(
        f"{where}: every image needs the name of a class, got {what} in row {row}; correct the "
        "label or remove the row"
    )


def numbers_as_names(where: str, labels: Labels) -> tuple[str, ...]:
    """Returns ``"0", "1", ...`` for labels that come without class names.

    Raises:
        UserError: If a number below the largest label has no image.
    """
    present = np.unique(labels)
    if len(present) and present[-1] + 1 != len(present):
        missing = next(index for index, label in enumerate(present) if index != label)
        raise UserError(
            f"{where}: labels without class names must be 0..n-1 with no gap, got {present[-1]} "
            f"as the largest and no image of {missing}; renumber them or give class_names"
        )
    return tuple(str(label) for label in present)


def same_form(name: str) -> str:
    """Returns a name in the one Unicode form in which classes are compared (NFC)."""
    return unicodedata.normalize("NFC", name)


def in_short(names: Sequence[str], most: int = 10) -> str:
    """
    >>> in_short(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
