"""Views that tasks without labels look at: two of a picture, all its quarter turns, its tiles, what is left of it."""
