"""One module for each measure; each runs once and returns figures by name."""
