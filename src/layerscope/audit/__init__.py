"""Rules from measured numbers to findings, panels and one statement; none knows HTML or a model."""
