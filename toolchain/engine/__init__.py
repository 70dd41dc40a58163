"""The engine: networks whose weights do not fit on the chip, pass by pass on one accelerator (decision 0014)."""
