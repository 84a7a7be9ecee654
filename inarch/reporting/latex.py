r"""The matrix of methods and data sets as a LaTeX table in the style of booktabs; no sign of a name is obeyed.

    needs \usepackage{booktabs} and, for † and –, an engine or encoding that reads UTF-8 (every LaTeX since 2018)
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from inarch.reporting.matrix import Cell, Line, Matrix

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "-": r"{-}",
    "[": r"{[}", "]": r"{]}", "*": r"{*}",  # behind \\ they would be an argument
    "–": "--", "†": r"\dag{}", "‡": r"\ddag{}",
}
RANGE = re.compile(r"^(?P<mean>\S+) (?P<range>\[.+\])$")


def escaped(text: str) -> str:
    r"""``text`` as LaTeX shows it, on one line.

    >>> escaped("nlvr_count7 50% $x$ \\input{a}")
    'nlvr\\_count7 50\\% \\$x\\$ \\textbackslash{}input\\{a\\}'
    """
    whole = "".join(sign if sign.isprintable() else " " for sign in text)
    return "".join(SIGNS.get(sign, sign) for sign in " ".join(whole.split()))


def table(matrix: Matrix, caption: str, notes: Sequence[str] = (), budgets: Sequence[int] = ()) -> str:
    """A whole ``table``: a line per method, mean and range over seeds, what must be known below it.

    ``budgets``: trained numbers without the head. Each method belongs to the smallest budget that it keeps; within a budget the best of
    each column is bold and a rule ends it. Without budgets nothing is bold: unequal methods have no best.
    """
    groups = _by_budget(matrix.lines, budgets)
    body = "\n\\midrule\n".join("\n".join(_row(line, _best(lines) if within else {}) for line in lines) for within, lines in groups)
    head = " & ".join(map(escaped, matrix.header))
    below = "".join(f"\\par\\smallskip\\footnotesize {escaped(note)}\n" for note in notes)
    return (f"% \\usepackage{{booktabs}}\n\\begin{{table}}\n\\centering\n\\caption{{{escaped(caption)}}}\n"
            f"\\begin{{tabular}}{{l{'r' * (len(matrix.header) - 1)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n"
            f"\\end{{tabular}}\n{below}\\end{{table}}\n")


def _by_budget(lines: Sequence[Line], budgets: Sequence[int]) -> list[tuple[bool, list[Line]]]:
    """Lines of each budget, smallest first, and whether they have one; those above all budgets come last."""
    found = defaultdict(list)
    for line in lines:
        most = line.trained[-1] if line.trained else None
        found[next((budget for budget in sorted(budgets) if most is not None and most <= budget), float("inf"))].append(line)
    return [(bool(budgets) and budget != float("inf"), found[budget]) for budget in sorted(found)]


def _best(lines: Sequence[Line]) -> dict[int, float]:
    """Per column, the best value that at least two lines compete for."""
    columns = enumerate(zip(*(line.cells for line in lines), strict=True))
    values = {i: [cell.value for cell in cells if cell.value is not None] for i, cells in columns}
    return {i: max(own) for i, own in values.items() if len(own) > 1}


def _row(line: Line, best: dict[int, float]) -> str:
    cells = [_cell(cell, cell.value is not None and cell.value == best.get(i)) for i, cell in enumerate(line.cells)]
    return " & ".join([escaped(line.name), escaped(line.trained_text), *cells]) + r" \\"


def _cell(cell: Cell, bold: bool) -> str:
    parts = RANGE.match(cell.text)
    first = escaped(parts["mean"] if parts else cell.text)
    first = f"\\textbf{{{first}}}" if bold else first
    return f"{first} {{\\scriptsize {escaped(parts['range'])}}}" if parts else first
