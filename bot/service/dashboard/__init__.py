"""The dashboard's page: files that a browser loads, served by `bot.service.routes.pages`; no module of Python is in it."""
