"""The step, its strengths, and how the codes choose among them."""
