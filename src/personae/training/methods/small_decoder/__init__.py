"""A small decoder of half the size, through which trainings judge faces."""
