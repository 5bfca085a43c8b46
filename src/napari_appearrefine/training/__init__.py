"""Making the built-in model: synthetic scenes, damaged masks, training."""
