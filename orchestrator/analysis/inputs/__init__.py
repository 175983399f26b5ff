"""What the analysis computes from: stored rows, brought into frames and paired with the trials that
they may be compared with."""
