"""Where a network looks: what is explained, and the methods that explain it."""
