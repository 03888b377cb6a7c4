"""The loop over the images: what is planned, read, computed, added up and saved."""
