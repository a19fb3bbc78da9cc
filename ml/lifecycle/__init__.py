"""The judges of the lifecycle: sequential tests that may be looked at as often as one likes. Pure; no files, no clock."""
