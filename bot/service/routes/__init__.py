"""Routes by what they are about; each reads the request, asks one function, and shapes the answer."""
