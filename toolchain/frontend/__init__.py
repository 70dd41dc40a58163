"""QONNX, QCDQ and QDQ files to MODEL graphs; no training framework."""
