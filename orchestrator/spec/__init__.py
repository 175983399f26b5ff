"""What a user writes: sweeps, cluster profiles, and the languages they may name."""
