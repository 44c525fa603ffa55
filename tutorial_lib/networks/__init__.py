"""The network of the book, written several times over with one interface."""
