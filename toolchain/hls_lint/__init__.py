"""A checker of the generated C++ for the rules of Vitis HLS, without the tool."""
