"""The pixel mark: who writes a pattern into a picture so that nobody sees it, and who finds it again."""
