"""The diagonal Fisher: what it is (``diagonal``), and what makes it fast."""
