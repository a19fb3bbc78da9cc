"""The prediction service: predictions, models and the state of the home over REST, with training in the background.

Requests pass ``access`` and ``limits``, reach a route of ``routes``, which reads the home by a pure function (``views``,
``forecasts``) or asks for a job (``jobs``), and leave as a shape of ``schemas`` or a problem (``problems``). FastAPI stands
in ``app``, ``context``, ``routes``, ``schemas`` and the edge; nothing else knows that there is a network.
"""
