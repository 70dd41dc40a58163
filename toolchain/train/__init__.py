"""Training: data, networks, quantizers and the loop."""

import warnings

# Brevitas warns at import about an optional speed-up of a method that is not used here.
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
