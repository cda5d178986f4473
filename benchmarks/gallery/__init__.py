"""The gallery: swaps over the faces that installed packages carry, shown and measured."""
