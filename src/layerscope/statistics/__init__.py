"""What one pass over the data accumulates: statistics that merge, and the kernel below them."""
