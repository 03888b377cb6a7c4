"""What is shown, before it is decided in which medium: parts, colours and their composition."""
