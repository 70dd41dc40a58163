"""What the docs show and nobody writes by hand: pages made from the code, and the picture of the flow."""
