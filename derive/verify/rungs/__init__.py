"""The rungs of the ladder, one a file; each yields measurements and knows no cell."""
