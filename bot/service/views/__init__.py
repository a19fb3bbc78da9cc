"""What a home holds, as plain documents for the service: pure functions that read, and neither write nor make a file."""
