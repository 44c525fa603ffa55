"""What the book measures. Each contestant runs in a process of its own: checked, then timed."""
