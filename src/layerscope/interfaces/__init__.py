"""Ways in: the command line first. No logic lives here."""
