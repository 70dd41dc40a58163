"""Facts of every hardware unit: lanes it can have, schedule, cycles, pauses, lag and cost."""
