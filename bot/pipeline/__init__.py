"""The cycle that trains recipes again and again, watches them, and promotes what the evidence is for."""
