"""What is asked of any network, which layers it has, and how it is run."""
