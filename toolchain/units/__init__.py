"""One module a hardware unit: its lanes, schedule, cost and C++; ``table`` has them all."""
