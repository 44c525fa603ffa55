"""What the book measures: contestants are checked against each other, then timed."""
