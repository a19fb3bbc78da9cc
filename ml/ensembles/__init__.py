"""Ensembles: several registered models that answer as one, judged on bars that none of them had seen."""
