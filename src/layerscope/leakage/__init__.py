"""What in the images gives the label away: repeated images, copied patches, whole-image properties.

No model is asked here. What is found is *present*; only a change of the images can show that a
model uses it.
"""
