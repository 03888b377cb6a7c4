"""Tables for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from layerscope.vocabulary import Layer

WIDTH_OFF_TERMINAL = 160


def layer_table(rows: Sequence[Layer], model: str) -> None:
    """Print one line per layer to stdout, with remarks that many lines share below."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OFF_TERMINAL)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("map", "stride", "sees px", "depth"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remarks", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.path),
            row.kind,
            "" if row.shape[2] is None else "x".join(str(side or "?") for side in row.shape),
            "" if row.stride is None else f"{row.stride:g}",
            "" if row.receptive_field is None else str(row.receptive_field),
            f"{row.depth:.2f}",
            escape(_remarks(row)),
        )
    console.print(table)
    shown = sum(1 for row in rows if not row.not_shown)
    count = "1 layer" if len(rows) == 1 else f"{len(rows)} layers"
    console.print(f"{escape(model)}: {count}, {shown} with maps to draw.")


def _remarks(row: Layer) -> str:
    signed = "signed (no activation follows)" if row.pre_activation and not row.not_shown else ""
    listed = f"not drawn: {row.not_shown}" if row.not_shown else ""
    return "; ".join(text for text in (listed, signed, row.notes) if text)
