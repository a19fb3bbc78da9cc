"""Tasks: what a model may be asked to learn, how it is judged, and what it is published as."""
