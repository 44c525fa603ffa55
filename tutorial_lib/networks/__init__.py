"""The network of the book, 784-30-10 by default, written several times over with one
interface."""
