"""Decks as carriers send them: read with every error by its line, compared, and held against what their rows cost."""
