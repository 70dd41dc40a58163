"""NITI: training with integers alone (Wang, Rasoulinezhad, Leong, So, arXiv 2009.13108).

Every tensor is an int8 mantissa with one power-of-two exponent; products are summed in int32. The settings are those
of the authors' published code of 2020 and of 2021; the rules that only its text shows are marked in the docstrings.
"""
