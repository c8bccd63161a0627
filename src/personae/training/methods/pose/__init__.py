"""A ControlNet with which a normal map decides pose and expression."""
