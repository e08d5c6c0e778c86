"""Pictures of figures: numbers in, a matplotlib ``Figure`` out; and those of a whole run directory.

No figure knows of pyplot, so several threads may draw at once. matplotlib is imported when one of the modules is.
"""
