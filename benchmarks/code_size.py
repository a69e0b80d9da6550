"""How long are our functions and files? The house rules want functions of 5-12 lines and files of 80-260.

python benchmarks/code_size.py
"""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

from _report import report

SRC = Path(__file__).parents[1] / "src" / "graft"


def functions(text: str) -> list[int]:
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes]


def main() -> None:
    texts = {str(p.relative_to(SRC)): p.read_text(encoding="utf-8") for p in sorted(SRC.rglob("*.py"))}
    lengths = sorted(length for text in texts.values() for length in functions(text))
    files = sorted(((text.count("\n"), name) for name, text in texts.items()), reverse=True)
    row = {"files": len(files), "lines": sum(n for n, _ in files), "file_median": median(n for n, _ in files if n),
           "functions": len(lengths), "median": median(lengths), "p90": quantiles(lengths, n=10)[-1],
           "longest": lengths[-1], "over_50": sum(n > 50 for n in lengths)}  # fmt: skip
    report("code_size", [row], {"longest_files": files[:5]})
    print("longest files:", ", ".join(f"{name} {lines}" for lines, name in files[:5]))


if __name__ == "__main__":
    main()
