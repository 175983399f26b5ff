"""What is done to every prunable weight: ranking by magnitude, masking gradients, zeroing weights and moments.

`reference` is the plain PyTorch definition of right, and so far the only implementation.
"""
