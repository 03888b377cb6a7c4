"""Changes of a model's maps or images, and what it says then."""
