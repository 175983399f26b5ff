"""What a trained model is worth: entity scores, on clean and on perturbed sentences."""
