"""Model folders: which there are, where they come from, whether they are whole, and which optional parts they hold."""
