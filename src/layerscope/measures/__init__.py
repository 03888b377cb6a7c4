"""Measures: pure formulas over arrays, one file per family, all listed in `measures.table`."""
