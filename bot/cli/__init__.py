"""The commands; modules here import nothing heavy at the top."""
