"""What sweeps survive: signals, damaged files, full disks and failing object stores, at random."""
