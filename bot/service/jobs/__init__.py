"""Work in the background: rows of the state database, each done by a process of its own.

``records`` holds the rows, ``worker`` both ends of a job's process, ``crew`` begins, watches and ends the processes, and
``keeper`` is the thread that does so, and what the server calls.
"""
