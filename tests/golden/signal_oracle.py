"""A decoder of signals in plain integers, written from FORMAT.md alone.

It uses no code of the codec, only the configuration and arrays of a weights file. It is slow and
without checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bitstream.oracle import Stack
from tests.golden.oracle import Arrays, table_of

CLASSES = [2**23 - 9, *(2**power for power in range(22, 0, -1)), *[1] * 11]
BIT = [2**23, 2**23]
PREDICTORS = ((32, 5), (16, 2))
Matrix = list[list[int]]


def within(limit: int, value: int) -> int:
    return max(-limit, min(value, limit))


def log(n: int) -> int:
    k = (n + 1).bit_length() - 1
    return 128 * (k - 1) + (128 * (n + 1) >> k)


def varint(data: bytes) -> tuple[int, bytes]:
    value, at = 0, 0
    while True:
        value |= (data[at] & 127) << 7 * at
        at += 1
        if data[at - 1] < 128:
            return value, data[at:]


def pop_message(stack: Stack, arrays: Arrays, tables: Sequence[int]) -> list[int]:
    symbols, escaped = [0] * len(tables), []
    for place in sorted(range(len(tables)), key=lambda place: tables[place]):
        minimum, frequencies = table_of(arrays, "tables", tables[place])
        entry = stack.pop(frequencies)
        symbols[place] = minimum + entry
        if entry == len(frequencies) - 1:
            escaped.append((place, minimum, minimum + entry - 1))
    classes = [stack.pop(CLASSES) for _ in escaped]
    values = [1] * len(escaped)
    for bit in range(max(classes, default=0) - 1, -1, -1):
        for number, k in enumerate(classes):
            if k > bit:
                values[number] = 2 * values[number] + stack.pop(BIT)
    for (place, first, last), v in zip(escaped, values, strict=True):
        symbols[place] = last + (v + 1) // 2 if v % 2 else first - v // 2
    return symbols


def fitted(sums: Matrix) -> list[int]:
    """The weights from the sums of features and target."""
    p = len(sums) - 1
    M = [row.copy() for row in sums]
    for j in range(p):
        M[j][j] += 16
    up = 32 - max(M[j][j] for j in range(p)).bit_length()
    M = [[within(2**45, n << up if up >= 0 else n >> -up) for n in row] for row in M]
    for j in range(p):
        M[j][j] += 64
    q = [[0] * (p + 1) for _ in range(p)]
    for j in range(p):
        row = [within(2**33, n) for n in M[j]]
        pivot, later = max(row[j], 64), range(j + 1, p + 1)
        limit = 2**62 // max(1, *(abs(row[i]) for i in later))
        for i in later:
            q[j][i] = within(limit, (2**28 * row[i] + pivot // 2) // pivot)
        for k in later:
            for i in range(k, p + 1):
                M[k][i] -= row[k] * q[j][i] + 2**27 >> 28
    c = [q[j][p] for j in range(p)]
    for j in range(p - 1, -1, -1):
        c[j] = within(2**32, c[j])
        for k in range(j):
            c[k] -= within(2**29, q[k][j] >> 4) * c[j] + 2**23 >> 24
    return [n + 2**11 >> 12 for n in c]


@dataclass
class Lane:
    """The state of one lane."""

    arrays: Arrays
    dilations: Sequence[int]
    x: list[int] = field(default_factory=list)
    d: list[int] = field(default_factory=list)
    shares: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=lambda: [0, 0])
    F: int = 2**18
    G: int = 2**18
    seen: list[list[list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = [[0] * p for p, _ in PREDICTORS]
        self.sums = [[[0] * (p + 1) for _ in range(p + 1)] for p, _ in PREDICTORS]
        self.seen = [[] for _ in self.dilations]

    def before(self, p: int, t: int) -> list[int]:
        """d(t − p) … d(t − 1)."""
        return [self.d[n] if n >= 0 else 0 for n in range(t - p, t)]

    def layer(self, name: str, values: Sequence[int]) -> list[int]:
        a, b, limit = self.arrays.get(f"{name}.units", [10, 12, 2**22])
        a, b, limit = int(a), int(b), int(limit)
        if a < 10:
            values = [v + 2 ** (9 - a) >> 10 - a for v in values]
        values = [within(limit, v) for v in values]
        weight, (bias,) = (self.arrays[f"{name}.{part}"].tolist() for part in ("weight", "bias"))
        sums = [sum(w[0][0] * v for w, v in zip(row, values, strict=True)) for row in weight]
        return [(s >> a + b - 10) + o for s, o in zip(sums, bias, strict=True)]

    def outputs(self, inputs: Sequence[int]) -> list[int]:
        v = self.layer("first", inputs)
        for number, dilation in enumerate(self.dilations):
            v = [within(2**22, n) for n in v]
            u = [max(n, 0) for n in v]
            past = self.seen[number]
            back = past[-dilation] if len(past) >= dilation else [0] * len(u)
            past.append(u)
            v = [n + m for n, m in zip(v, self.layer(f"layers.{number}", back + u), strict=True)]
        for name in ("hidden", "output"):
            v = self.layer(name, [min(max(n, 0), 2**22) for n in v])
        return v

    def look(self, low: int, high: int) -> tuple[int, int, int]:
        """Centre, table and low bits of the next sample."""
        t, last = len(self.x), self.x[-1] if self.x else 0
        self.pi = [
            within(2**22, 16 * last + (sum(map(int.__mul__, w, self.before(p, t))) >> 12))
            for w, (p, _) in zip(self.weights, PREDICTORS, strict=True)
        ]
        self.s = s = max(self.F, 64)
        step = self.before(1, t)[0]
        signed = [*self.errors, self.pi[1] - self.pi[0], 16 * step, self.pi[0] - 16 * last]
        o = self.outputs([
            2**10,
            *(within(8191, 2**18 * v // s) for v in signed),
            log(2**8 * abs(self.errors[0])) - log(s),
            log(self.G) - log(s),
            log(s),
            log(min(t, 4096)),
        ])  # fmt: skip
        shift, share = within(2**13, o[1]), within(2**13, o[2])
        change = shift * s + 2**8 * share * (self.pi[1] - self.pi[0])
        mean = min(max(self.pi[0] + (change + 2**17 >> 18), 16 * low), 16 * high)
        scale = min(max(o[0] + 32 * (log(s) - 2**10) + 2**9 >> 10, 0), 75)
        low_bits = max(0, (scale - 32) // 4)
        scale -= 4 * low_bits
        B = [min(max(3 - (number // 4 - 4), 0), 4) for number in range(36)]
        table = sum(2**b for b in B[:scale]) + ((mean + 8) % 16 >> 4 - B[scale])
        return mean + 8 >> 4, table, low_bits

    def take(self, x: int) -> None:
        """Take x as the next sample."""
        t = len(self.x)
        self.d.append(x - self.x[-1] if t else 0)
        self.x.append(x)
        self.errors = [16 * x - pi for pi in self.pi]
        a = 2**8 * abs(self.errors[0])
        self.F += a - self.F >> 4
        self.G += a - self.G >> 7
        self.shares.append(max(max(self.F, a // 4).bit_length() - 12, 0))
        if t % 32 == 31:
            for number, (p, g) in enumerate(PREDICTORS):
                self.learn(number, p, g, t)

    def learn(self, number: int, p: int, g: int, t: int) -> None:
        S = [[n - (n >> g) for n in row] for row in self.sums[number]]
        for place in range(max(t - 31, p + 1), t + 1):
            k = self.shares[place]
            f = [within(2**20, (2**5 * n + 2**k) >> k + 1) for n in self.before(p + 1, place + 1)]
            for row, m in zip(S, f, strict=True):
                for i, n in enumerate(f):
                    row[i] += m * n
        self.sums[number] = S
        self.weights[number] = fitted(S)


def decode(data: bytes, arrays: Arrays, dilations: Sequence[int]) -> list[int]:
    """The samples from the bytes of a signal."""
    assert data[:9] == b"\xc3ALO\r\n\x1a\n\x01"
    length, rest = varint(data[9:])
    assert (rest[:4], len(rest)) == (b"SIGN", 4 + length + 4)
    kind, unused = rest[4:6]
    n, rest = varint(rest[14:-4])
    L, rest = varint(rest)
    m = 2**7 if kind else 2**15
    low, high = -m >> unused, m - 1 >> unused
    body = (bytes(-len(rest) % 4) + rest)[::-1]
    stack = Stack([int.from_bytes(body[at : at + 4], "little") for at in range(0, len(body), 4)])
    lanes = [Lane(arrays, dilations) for _ in range(L)]
    lengths = [n // L + (number < n % L) for number in range(L)]
    first_low = sum(2 ** min(max(7 - number // 4, 0), 4) for number in range(36))
    for t in range(max(lengths)):
        active = [lane for lane, own in zip(lanes, lengths, strict=True) if t < own]
        seen = [lane.look(low, high) for lane in active]
        tables = [table for _, table, _ in seen]
        tables += [first_low + bits - 1 for _, _, bits in seen if bits]
        symbols = pop_message(stack, arrays, tables)
        rests = iter(symbols[len(active) :])
        for lane, symbol, (centre, _, bits) in zip(active, symbols, seen, strict=False):
            v = (symbol << bits) + (next(rests) if bits else 0)
            lane.take(v + centre - 2**bits // 2)
    assert stack.to_words() == [6209]
    return [(x << unused) + 128 * (kind == 1) for lane in lanes for x in lane.x]
