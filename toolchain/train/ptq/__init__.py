"""Post-training quantization: a float network, some images, and no training."""
