"""A reader of archives by docs/archives.md alone: lists and whole numbers, one by one."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from math import prod, sqrt
from typing import Any

PHASES = ((0, 8), (4, 8), (2, 4), (1, 2))
PARTS = 1 << 24
Numbers = list[float]


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bits(self, widths: list[int]) -> list[int]:
        text = "".join(f"{byte:08b}" for byte in self.take(-(-sum(widths) // 8)))
        found, at = [], 0
        for width in widths:
            found.append(int(text[at : at + width] or "0", 2))
            at += width
        return found

    def floats(self, count: int) -> Numbers:
        return list(struct.unpack(f"<{count}f", self.take(4 * count)))


def read_slowly(
    content: bytes, shapes: Callable[[Any], dict[str, tuple[int, ...]]]
) -> tuple[dict[str, Any], dict[str, Numbers]]:
    """Returns the head and the arrays of an archive without coded layers.

    Args:
        shapes: Of the arrays of a graph, by its JSON.
    """
    data = Bytes(content)
    assert data.take(5) == b"\x89HWZ\x01"
    size, packed = data.varint(), data.varint()
    head = zlib.decompress(data.take(packed), -15)
    assert len(head) == size
    check = zlib.crc32(content[: data.at])
    assert data.take(4) == struct.pack("<I", check)
    arrays = {}
    for name, shape in shapes(json.loads(head)["graph"]).items():
        start = data.at
        form, length = data.take(1)[0], data.varint()
        body = Bytes(data.take(length))
        check = zlib.crc32(content[start : data.at], check)
        assert data.take(4) == struct.pack("<I", check)
        arrays[name] = read_array(form, body, shape)
        assert body.at == length
    assert data.at == len(content)
    return json.loads(head), arrays


def read_array(form: int, body: Bytes, shape: tuple[int, ...]) -> Numbers:
    count = prod(shape)
    if form == 0:
        return body.floats(count)
    if form == 1:
        return read_exponents(body, count)
    codebook = read_codebook(body)
    symbols = (read_huffman if form == 2 else read_contexts)(body, shape, len(codebook))
    return [codebook[symbol - 1] if symbol else 0.0 for symbol in symbols]


def number(word: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", word))[0])


def read_exponents(body: Bytes, count: int) -> Numbers:
    least, most = body.take(2)
    words = [int.from_bytes(body.take(3), "little") for _ in range(count)]
    found = read_values(Ans(body.take(len(body.data) - body.at)), [0] * count, most - least + 1)
    return [
        number((word >> 23) << 31 | (least + each) << 23 | word & (1 << 23) - 1)
        for word, each in zip(words, found, strict=True)
    ]


def read_codebook(body: Bytes) -> Numbers:
    count, least, each = body.varint(), body.take(1)[0], body.take(1)[0]
    widths = [least + more for more in body.bits([each] * count)]
    values, at = [], -1
    for width, low in zip(widths, body.bits([width - 1 for width in widths]), strict=True):
        at += 1 << width - 1 | low
        values.append(number(at ^ 1 << 31 if at >> 31 else at ^ (1 << 32) - 1))
    return values


def read_huffman(body: Bytes, shape: tuple[int, ...], num_values: int) -> list[int]:
    (width,), count = body.take(1), body.varint()
    values, gaps = read_stream(body, count), read_stream(body, count)
    symbols, at = [0] * prod(shape), -1
    for value, gap in zip(values, gaps, strict=True):
        assert gap < 1 << width
        assert value <= num_values
        at += gap + 1
        symbols[at] = value
    return symbols


def read_stream(body: Bytes, count: int) -> list[int]:
    (kind,) = body.take(1)
    first = body.varint()
    if kind == 0:
        return [first] * count
    lengths = [half for byte in body.take((first + 1) // 2) for half in (byte & 15, byte >> 4)]
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths[:first]) if n):
        code <<= length - before
        codes[length, code], before = symbol, length
        code += 1
    if not count:
        return []
    lane = min(max(-(-count // 256), 256), 4096)
    least, (more,) = body.varint(), body.take(1)
    total = sum(least + each for each in body.bits([more] * -(-count // lane)))
    bits = body.bits([1] * total)
    found, length, code = [], 0, 0
    for bit in bits:
        length, code = length + 1, code << 1 | bit
        if (length, code) in codes:
            found.append(codes[length, code])
            length = code = 0
    assert len(found) == count
    return found


class Ans:
    def __init__(self, content: bytes) -> None:
        self.words = list(struct.unpack(f"<{len(content) // 4}I", content))
        self.state = self.words.pop() if self.words else 0
        self.refill()

    def refill(self) -> None:
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, weights: list[int]) -> int:
        place, symbol = self.state % PARTS, 0
        while place >= weights[symbol] + 1:
            place -= weights[symbol] + 1
            symbol += 1
        self.state = (self.state // PARTS) * (weights[symbol] + 1) + place
        self.refill()
        return symbol

    def end(self) -> None:
        assert not self.state
        assert not self.words


def filled(weights: list[int]) -> list[int]:
    weights[weights.index(max(weights))] += PARTS - len(weights) - sum(weights)
    return weights


def log2(count: int) -> int:
    whole = count.bit_length() - 1
    return 16 * whole + (16 * count >> whole) - 16


class SlowOdds:
    def __init__(self, count: int, size: int) -> None:
        self.prior = 1 + 128 * count // size
        self.base = log2(self.prior) - log2(130 - self.prior)

    def of(self, ones: int, total: int) -> int:
        return (
            log2(64 * ones + self.prior) - log2(64 * (total - ones) + 130 - self.prior) - self.base
        )


class SlowClasses:
    def __init__(self, ans: Ans) -> None:
        odds = [2.0 ** ((n - 32) // 2) * sqrt(sqrt(2)) ** (3 if n % 2 else 1) for n in range(64)]
        self.ans, self.ones = ans, [int(384 * each / (1 + each)) for each in odds]
        self.total = [384] * 64

    def bits(self, logits: list[int], width: int) -> list[list[int]]:
        """Returns the bits of each member of a step, coded class by class."""
        found: list[list[int]] = [[] for _ in logits]
        classes = [min(max((logit >> 3) + 32, 0), 63) for logit in logits]
        for index in sorted(set(classes)):
            members = [at for at, each in enumerate(classes) if each == index]
            chance = self.ones[index] * 8192 // self.total[index]
            spare = max(chance.bit_length() - 6, 0)
            chance = min(max(chance >> spare << spare, 1), 8191)
            flat: list[int] = []
            while len(flat) < width * len(members):
                count = 4 if width * len(members) - len(flat) >= 4 else 1
                flat += self.pattern(chance, count)
            for number, at in enumerate(members):
                found[at] = flat[number * width : (number + 1) * width]
            self.ones[index] += 64 * sum(flat)
            self.total[index] += 64 * len(flat)
        return found

    def pattern(self, chance: int, count: int) -> list[int]:
        free, ones = PARTS - (1 << count), [bin(n).count("1") for n in range(1 << count)]
        each = [chance**n * (8192 - chance) ** (count - n) * free // 8192**count for n in ones]
        symbol = self.ans.symbol(filled(each))
        return [symbol >> count - 1 - n & 1 for n in range(count)]


def blocks(rows: int, columns: int) -> Iterator[range]:
    at = 0
    while at < rows:
        most = -(-(1 << 19) // columns)
        end = min(rows, at + min(max(at // 4, -(-(1 << 12) // columns)), most))
        yield range(at, end)
        at = end


def read_contexts(body: Bytes, shape: tuple[int, ...], num_values: int) -> list[int]:
    rows, columns = (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))
    taps = prod(shape[2:])
    count, odds = body.varint(), SlowOdds(0, 1)
    grid = [[int(count > 0)] * columns for _ in range(rows)]
    if 0 < count < rows * columns:
        odds = SlowOdds(count, rows * columns)
        weights = list(body.take(4 if taps > 1 else 2))
        ans = Ans(body.take(4 * body.varint()))
        if taps > 1:
            grid = slow_kernels(SlowClasses(ans), odds, weights, rows, shape[1], taps)
        else:
            grid = slow_linear(SlowClasses(ans), odds, weights, rows, columns)
        ans.end()
    in_column = [sum(row[c] for row in grid) for c in range(columns)]
    contexts = []
    for row in grid:
        for column in (c for c in range(columns) if row[c]):
            sums = odds.of(sum(row), columns) + odds.of(in_column[column], rows)
            contexts.append(min(max((sums >> 4) + 3, 0), 5) if count < rows * columns else 0)
    values = Ans(body.take(len(body.data) - body.at))
    left = iter(read_values(values, contexts, num_values))
    return [next(left) + 1 if bit else 0 for row in grid for bit in row]


def slow_linear(
    classes: SlowClasses, odds: SlowOdds, weights: list[int], rows: int, columns: int
) -> list[list[int]]:
    grid = [[0] * columns for _ in range(rows)]
    for block in blocks(rows, columns):
        above = [
            odds.of(sum(grid[r][c] for r in range(block[0])), block[0]) for c in range(columns)
        ]
        order = sorted(range(columns), key=lambda c: above[c])
        whole = [order[4 * n : 4 * n + 4] for n in range(columns // 4)]
        parts = [whole[first::distance] for first, distance in PHASES]
        known: list[int] = []
        for group in [*parts, [[c] for c in order[4 * len(whole) :]]]:
            if not group:
                continue
            width = len(group[0])
            logits = [
                odds.base
                + (sum(above[c] for c in four) // width * weights[0] >> 4)
                + (
                    (odds.of(sum(grid[r][c] for c in known), len(known)) if known else 0)
                    * weights[1]
                    >> 4
                )
                for r in block
                for four in group
            ]
            members = [(r, four) for r in block for four in group]
            for (r, four), bits in zip(members, classes.bits(logits, width), strict=True):
                for c, bit in zip(four, bits, strict=True):
                    grid[r][c] = bit
            known += [c for four in group for c in four]
    return grid


def slow_kernels(
    classes: SlowClasses, odds: SlowOdds, weights: list[int], rows: int, channels: int, taps: int
) -> list[list[int]]:
    """Columns are channel by channel, as the array has them."""
    grid = [[0] * (channels * taps) for _ in range(rows)]
    for block in blocks(rows, channels * taps):
        done = range(block[0])
        above = [sum(grid[r][c] for r in done) for c in range(channels * taps)]
        for first, distance in PHASES:
            phase = range(first, taps, distance)
            known = range(0, taps, 2 * first) if first else range(0)
            members = [(r, k, i) for r in block for k in phase for i in range(channels)]
            logits = []
            for r, k, i in members:
                in_row = sum(grid[r][a * taps + t] for a in range(channels) for t in known)
                features = (
                    odds.of(above[i * taps + k], len(done)),
                    odds.of(sum(above[i * taps : (i + 1) * taps]), len(done) * taps),
                    odds.of(in_row, channels * len(known)) if first else 0,
                    odds.of(sum(grid[r][i * taps + t] for t in known), len(known)) if first else 0,
                )
                shares = (each * w >> 4 for each, w in zip(features, weights, strict=True))
                logits.append(odds.base + sum(shares))
            for (r, k, i), (bit,) in zip(members, classes.bits(logits, 1), strict=True):
                grid[r][i * taps + k] = bit
    return grid


def read_values(ans: Ans, contexts: list[int], num_values: int) -> list[int]:
    found = [0] * len(contexts)
    if num_values < 2:
        ans.end()
        return found
    seen, at = [[0] * num_values for _ in range(6)], 0
    while at < len(contexts):
        run = range(at, min(len(contexts), at + min(max(at // 4, 64), 1 << 16)))
        for context in sorted({contexts[n] for n in run}):
            together = [0, *map(sum, zip(*seen, strict=True)), 0]
            smooth = [
                14 * b + a + c + 1
                for a, b, c in zip(together, together[1:], together[2:], strict=False)
            ]
            counts = [
                32 * each + 768 * near // sum(smooth) + 1
                for each, near in zip(seen[context], smooth, strict=True)
            ]
            free = PARTS - num_values
            weights = filled([each * free // sum(counts) for each in counts])
            members = [n for n in run if contexts[n] == context]
            for n in members:
                found[n] = ans.symbol(weights)
            for n in members:
                seen[context][found[n]] += 1
        at = run[-1] + 1
    ans.end()
    return found
