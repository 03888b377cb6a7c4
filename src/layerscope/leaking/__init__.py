"""The search for leaks: what gives a class away, and what it does to the answers of a model.

`layerscope.leakage` looks at the images alone and `layerscope.interventions` changes them; here the
two meet.
"""
