"""One machine: its processors and memory, the Ray node on it, and how that leaves."""
