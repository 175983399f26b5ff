"""When weights are pruned (schedule), which ones may be (scope), and who tells the optimizer
(pruner)."""
